"""Banned words: which are counted, and what a file or the project may still have."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import banned_words

pytestmark = pytest.mark.integration


@pytest.fixture
def project(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "tests").mkdir()
    (tmp_path / "docs").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Whoever asks is told so.", 3),
        ("there are so\n    # many of them", 1),
        ("def asked_for(_told): ...", 2),
        ("It comes to be handed on, and looks after it.", 3),
        ("a task masks a basket; behold, amend, heartbeat, yours, household", 0),
        ("offset = file.tell()", 0),
        ("see https://host.example/ask/told", 0),
        ("see today's value; let goals be", 0),
    ],
)
def test_banned_words_are_counted_in_prose_and_names(text: str, expected: int) -> None:
    assert banned_words.count(text) == expected


def test_file_above_allowed_word_count_fails(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = project / "docs" / "page.md"
    page.write_text("nobody")
    assert banned_words.main(project, "--update") == 0
    assert banned_words.main(project) == 0

    page.write_text("nobody asked")
    (project / "docs" / "new.md").write_text("mend")

    assert banned_words.main(project) == 1
    shown = capsys.readouterr().out
    assert "docs/page.md: 2 banned words, 1 allowed" in shown
    assert "docs/new.md: 1 banned words, 0 allowed" in shown


def test_file_below_allowed_word_count_passes(project: Path) -> None:
    (project / "docs" / "page.md").write_text("nobody asked")
    banned_words.main(project, "--update")
    (project / "docs" / "page.md").write_text("nobody")

    assert banned_words.main(project) == 0


def test_update_accepts_moved_file_but_no_new_words(project: Path) -> None:
    (project / "docs" / "page.md").write_text("nobody asked")
    banned_words.main(project, "--update")
    (project / "docs" / "page.md").rename(project / "docs" / "moved.md")
    assert banned_words.main(project) == 1

    assert banned_words.main(project, "--update") == 0
    assert banned_words.allowed(project) == {"docs/moved.md": 2}

    (project / "docs" / "new.md").write_text("mend")
    assert banned_words.main(project, "--update") == 1
    assert banned_words.allowed(project) == {"docs/moved.md": 2}


def test_git_ignored_file_is_not_counted(project: Path) -> None:
    (project / ".gitignore").write_text("docs/build\n")
    (project / "docs" / "build").mkdir()
    (project / "docs" / "build" / "page.md").write_text("nobody")

    assert banned_words.counts(project) == {}


def test_update_resolves_merge_conflict(project: Path) -> None:
    (project / "docs" / "page.md").write_text("nobody")
    (project / banned_words.ALLOWED).write_text(
        "<<<<<<< HEAD\n1 docs/page.md\n=======\n2 docs/page.md\n>>>>>>> other\n"
    )

    assert banned_words.main(project, "--update") == 0
    assert banned_words.allowed(project) == {"docs/page.md": 1}
