"""README.zh-CN.md has the sections, code, links and tables of README.md, and follows each of its changes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
MAX_LINES = 150
_DIGEST = re.compile(r"^<!-- README\.md sha256: ([0-9a-f]{64}) -->$", re.MULTILINE)
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose(name: str) -> str:
    return _CODE.sub("", text(name))


def headings(content: str) -> list[int]:
    """Return the level of each heading, in order."""
    return [len(marks) for marks in re.findall(r"^(#+) ", content, flags=re.MULTILINE)]


def links(content: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", content)


def tables(content: str) -> list[list[int]]:
    """Return the cells of each row of each table."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", content, flags=re.MULTILINE)
    return [[row.count("|") - 1 for row in block.splitlines()] for block in blocks]


def lists(content: str) -> int:
    return len(re.findall(r"^- ", content, flags=re.MULTILINE))


@pytest.mark.parametrize("part", [headings, links, tables, lists], ids=lambda part: part.__name__)
def test_readme_languages_have_same_structure(part) -> None:  # type: ignore[no-untyped-def]
    assert part(prose(ENGLISH))
    assert part(prose(CHINESE)) == part(prose(ENGLISH))


def test_readme_languages_have_same_code_blocks() -> None:
    assert _CODE.findall(text(ENGLISH))
    assert _CODE.findall(text(CHINESE)) == _CODE.findall(text(ENGLISH))


@pytest.mark.parametrize("name", [ENGLISH, CHINESE])
def test_readme_is_short_and_links_exist(name: str) -> None:
    missing = [link for link in links(prose(name)) if "://" not in link and not (ROOT / link.split("#")[0]).exists()]

    assert missing == []
    assert len(text(name).splitlines()) < MAX_LINES


def test_chinese_readme_digest_matches_english_readme() -> None:
    digest = hashlib.sha256(text(ENGLISH).encode()).hexdigest()

    assert _DIGEST.findall(text(CHINESE)) == [digest], (
        f"{ENGLISH} has changed. Make the same change in {CHINESE}, then set its last line to\n"
        f"<!-- README.md sha256: {digest} -->"
    )
