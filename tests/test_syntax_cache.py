"""The syntax cache: the same code version with and without it, and never a reason for a run to fail."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ai_workflow.code_versions import closure, syntax, syntax_cache

STAGE = "ai_workflow.stages.preprocessor"
Restart = Callable[[], None]


@pytest.fixture
def restart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Restart:
    """Forgets what this process has read, as a new process would; the cache is in a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def forget() -> None:
        for function in (syntax_cache.read, syntax_cache._path, syntax_cache._stored):
            function.cache_clear()
        syntax_cache._new.clear()

    forget()
    return forget


@pytest.fixture(autouse=True)
def _leave_no_trace(restart: Restart, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield
    monkeypatch.undo()
    restart()


def _file(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "ai-workflow").iterdir()
    return path


@pytest.mark.integration
def test_cached_syntax_gives_same_code_without_parsing(
    restart: Restart, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = closure.read(STAGE)
    assert stat.S_IMODE(_file(tmp_path).stat().st_mode) == 0o600
    restart()
    monkeypatch.setattr(syntax, "read", lambda source: pytest.fail(f"{source[:60]!r} is parsed again"))
    assert closure.read(STAGE) == first


def test_changed_source_is_parsed_again(restart: Restart) -> None:
    before = syntax_cache.read(b"RATE = 2\n").digest
    syntax_cache.save()
    restart()
    assert syntax_cache.read(b"RATE = 3\n").digest != before
    assert syntax_cache.read(b"RATE = 2  # per cent\n").digest == before


@pytest.mark.integration
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"a": 1}'],
    ids=["empty", "cut", "list", "null", "bytes", "other"],
)
def test_damaged_cache_is_replaced(restart: Restart, tmp_path: Path, content: bytes) -> None:
    first = closure.read(STAGE)
    _file(tmp_path).write_bytes(content)
    restart()
    assert closure.read(STAGE) == first
    assert len(json.loads(_file(tmp_path).read_bytes())) > 10


@pytest.mark.integration
def test_damaged_entry_is_parsed_again(restart: Restart, tmp_path: Path) -> None:
    first = closure.read(STAGE)
    path = _file(tmp_path)
    damaged = {
        key: [None, {}, 3, {"digest": 1}][number % 4] for number, key in enumerate(json.loads(path.read_bytes()))
    }
    path.write_text(json.dumps(damaged))
    restart()
    assert closure.read(STAGE) == first


@pytest.mark.integration
def test_unwritable_cache_folder_costs_only_time(
    restart: Restart, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = closure.read(STAGE)
    blocked = tmp_path / "file"
    blocked.write_text("a file, where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    restart()
    assert closure.read(STAGE) == first


def test_lone_surrogates_survive_cache(restart: Restart) -> None:
    source = b'NAME = "shop.rates:\\ud800"\nFILE = "\\udc80.csv"\n'
    fresh = syntax_cache.read(source)
    syntax_cache.save()
    restart()
    assert syntax_cache.read(source) == fresh


def test_cache_keeps_limited_number_of_entries(
    restart: Restart, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(syntax_cache, "_MAX_ENTRIES", 10)
    for number in range(25):
        syntax_cache.read(f"VALUE = {number}\n".encode())
        syntax_cache.save()
    assert len(json.loads(_file(tmp_path).read_bytes())) == 10
