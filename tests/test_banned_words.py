"""Banned words: which words are found, and in which files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import banned_words

pytestmark = pytest.mark.integration


@pytest.fixture
def project(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "docs").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Whoever asks is told so.", ["Whoever", "asks", "told"]),
        ("there are so\n    # many of them", ["so\n    # many"]),
        ("def asked_for(_told): ...", ["asked", "told"]),
        ("It comes to be handed on, and looks after it.", ["comes to be", "handed on", "looks after"]),
        ("a task masks a basket; behold, amend, heartbeat, yours, household", []),
        ("offset = file.tell()", []),
        ('record["anew"] = True; anew', ["anew"]),
        ("see https://host.example/ask/told", []),
        ("see today's value; let goals be", []),
    ],
)
def test_whole_words_are_found_in_prose_and_names(text: str, expected: list[str]) -> None:
    assert banned_words.find(text) == expected


def test_file_with_banned_word_fails_check(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = project / "docs" / "page.md"
    page.write_text("The exporter reads the store.")
    assert banned_words.main(project) == 0

    page.write_text("nobody asked nobody")
    assert banned_words.main(project) == 1
    assert "docs/page.md: asked, nobody" in capsys.readouterr().out


def test_ignored_and_binary_files_are_not_checked(project: Path) -> None:
    (project / ".gitignore").write_text("docs/build\n")
    (project / "docs" / "build").mkdir()
    (project / "docs" / "build" / "page.md").write_text("nobody")
    (project / "docs" / "picture.svg").write_text("nobody")

    assert banned_words.main(project) == 0
