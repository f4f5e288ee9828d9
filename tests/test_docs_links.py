"""Links, anchors, paths and modules that pages name exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"(?<![\w/.-])((?:src|flows|tests|docs|monitoring|blocks|deploy|config|benchmarks|\.ci)/[\w./-]*\w)")
_MODULE = re.compile(r"\bai_workflow(?:\.\w+)+")
# A history and its decisions name what existed then.
_HISTORY = ("CHANGELOG.md", "docs/adr/")
# Files that a user creates.
_CREATED = {"deploy/.env"}
_ENTRY_POINTS = {f"ai_workflow.{group}" for group in ("channels", "features", "metrics", "sources", "trainers")}
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


def is_path(name: str, page: str) -> bool:
    return any((folder / name).exists() for folder in (ROOT, ROOT / "src" / "ai_workflow", (ROOT / page).parent))


def is_module(name: str) -> bool:
    """Return whether a dotted name is a module, or an attribute of one."""
    path = ROOT.joinpath("src", *name.split("."))
    if path.is_dir() or path.with_suffix(".py").exists():
        return True
    parent = path.parent.with_suffix(".py") if not path.parent.is_dir() else path.parent / "__init__.py"
    return parent.exists() and re.search(rf"\b{path.name}\b", parent.read_text()) is not None


@pytest.mark.parametrize("page", [page for page in pages() if not page.startswith(_HISTORY)])
def test_page_names_existing_paths_and_modules(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = {name for name in _PATH.findall(text) if name not in _CREATED and not is_path(name, page)}
    modules = {name for name in _MODULE.findall(text) if not is_module(name) and name not in _ENTRY_POINTS}

    assert (paths, modules) == (set(), set())


@pytest.mark.parametrize("page", pages())
def test_docs_links_resolve(page: str) -> None:
    assert broken(page) == []


@pytest.mark.integration
def test_headings_named_in_code_exist_in_docs() -> None:
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
