"""Each relative link of a page leads to a file, and each anchor to a heading."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# Pages that code and settings name with a heading: "docs/operating.md, Out of memory".
_NAMED = re.compile(r"(docs/[\w-]+\.md)(?:, | \()\"?([A-Z][\w ]+?)[\"\).\n]")


def pages() -> list[str]:
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z", "--", "*.md"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted(name for name in names if name and (ROOT / name).is_file())


def headings(path: Path) -> set[str]:
    found = re.findall(r"^#+ (.+)$", _CODE.sub("", path.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {heading.replace("`", "") for heading in found}


def anchor(heading: str) -> str:
    """Return the anchor of a heading as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def broken(page: str) -> list[str]:
    text = _CODE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, fragment = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        if "://" in link or link.startswith("mailto:"):
            continue
        if not target.exists() or (fragment and fragment not in map(anchor, headings(target))):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", pages())
def test_every_link_leads_somewhere(page: str) -> None:
    assert broken(page) == []


def test_a_heading_that_code_or_settings_name_exists() -> None:
    command = [
        "git",
        "grep",
        "-hI",
        "docs/",
        "--",
        "src",
        "config",
        "deploy",
        "monitoring",
        "flows",
        "blocks",
        ".env.example",
    ]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    named = _NAMED.findall(text)

    assert named
    assert [f"{page}, {name}" for page, name in named if name not in headings(ROOT / page)] == []
