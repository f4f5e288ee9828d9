"""Files on a disk or behind a URL, through fsspec: which ones a path means, what their bytes are, how to open them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec

from ai_workflow.errors import AiWorkflowError, StageError
from ai_workflow.secret_values import scrub
from ai_workflow.sources.file_errors import stage_error
from ai_workflow.storage.file_names import require_utf8

_CHUNK = 1 << 20
# `[*]`, `[?]` and `[[]` are escaped characters, which begin no pattern.
_ESCAPED = re.compile(r"\[([*?\[])\]")
_GLOB = re.compile(rf"(?P<fixed>(?:{_ESCAPED.pattern}|[^*?\[])*+)[*?\[]")
_LOCAL = "file"
# fsspec's own extras of this package; for other protocols fsspec says itself what is needed.
_EXTRAS = {"s3": "s3", "s3a": "s3"}


@dataclass(frozen=True, slots=True)
class InputFile:
    """One input file: its name below the root of the source, how to open it, and what its bytes must be."""

    name: str
    path: str
    sha256: str
    bytes: int

    @property
    def shown(self) -> str:
        """How a message names it: without the credentials that a URL may hold."""
        return shown(self.path)

    def changed(self) -> StageError:
        """Return the error of a file whose bytes are no longer those that were inspected."""
        return StageError(
            f"{self.shown} changed while it was read",
            "Run again once nothing writes to it; write new files elsewhere first",
        )


def shown(path: str) -> str:
    """Return a path or URL without credentials."""
    return scrub(re.sub(r"//[^/@\s]*@", "//***@", path))


def find(path: str, suffixes: tuple[str, ...], base: Path | None = None) -> list[dict[str, Any]]:
    """Return the files that a path, glob, folder or URL means, sorted, as JSON `{name, path, sha256, bytes}`.

    Args:
        path: in a folder only names that end with one of `suffixes` count, and none that begin with `.` or `_`.
        suffixes: endings of data files; `.gz` may follow each.
        base: what a relative path is relative to; the current directory if not given.

    Raises:
        StageError: nothing is there, it may not be read, a file is empty, or a name is not UTF-8.
        TransientError: the place cannot be reached.
    """
    fs, place, local = _resolve(path, base)
    require_utf8(place, "source.path")
    with _translated(path):
        paths, root = _matching(fs, place, suffixes, path)
    found = []
    for each in paths:
        require_utf8(each, "source.path")
        name = each[len(root) :].lstrip("/") if each.startswith(root) else Path(each).name
        opened = each if local else (path if len(paths) == 1 and each == place else fs.unstrip_protocol(each))
        sha256, size = digest(opened)
        if size == 0:
            raise StageError(f"{shown(opened)} is empty", "Give a file with rows, or take it out of the source")
        found.append({"name": name or Path(each).name, "path": opened, "sha256": sha256, "bytes": size})
    return found


def digest(path: str) -> tuple[str, int]:
    """Return the sha256 and the size of a file as it is now.

    Raises:
        StageError: it is missing or may not be read.
    """
    with opened(path) as file:
        tally = HashingReader(file)
        while tally.read(_CHUNK):
            pass
    return tally.sha256, tally.size


@contextlib.contextmanager
def opened(path: str, stream: bool = True) -> Iterator[IO[bytes]]:
    """Open a file for reading; what fails while it is read is told as a stage error.

    Args:
        path: a path or URL, as `find` gave it.
        stream: it is read once from front to end.

    Raises:
        StageError: it is missing or may not be read.
        TransientError: the place cannot be reached.
    """
    fs, place, _ = _resolve(path, None)
    # A web server need not know ranges; a plain stream does without.
    options = {"block_size": 0} if stream and _protocol(path) in ("http", "https") else {}
    with _translated(path), fs.open(place, "rb", **options) as file:
        yield file


class HashingReader:
    """Reads a file once from front to end, and knows the sha256 and size of what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; none at the end."""
        data = self._file.read(size)
        self._digest.update(data)
        self.size += len(data)
        return data

    @property
    def sha256(self) -> str:
        """Hex digest of all bytes read so far."""
        return self._digest.hexdigest()


def _protocol(path: str) -> str:
    return path.split("://", 1)[0] if "://" in path else _LOCAL


def _resolve(path: str, base: Path | None) -> tuple[Any, str, bool]:
    """Return the file system, the path inside it, and whether it is this machine's disk."""
    protocol = _protocol(path).split("::")[0]
    if protocol == _LOCAL:
        place = Path(path.removeprefix("file://")).expanduser()
        return fsspec.filesystem(_LOCAL), str((base or Path.cwd()) / place), True
    try:
        fs, place = fsspec.core.url_to_fs(path)
        # A process that lives on, as a worker's, would otherwise see the files of its first listing only.
        fs.invalidate_cache()
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        remedy = f"Install it: .venv/bin/pip install -e '.[{extra}]'" if extra else str(error)
        raise StageError(f"{shown(path)} needs a package for {protocol}:// that is not installed", remedy) from error
    except ValueError as error:
        raise StageError(
            f"{shown(path)} is not a path or URL that can be opened: {scrub(str(error))}", "Correct source.path"
        ) from error
    return fs, place, False


def _matching(fs: Any, place: str, suffixes: tuple[str, ...], path: str) -> tuple[list[str], str]:
    """Return the files and the folder that their names are relative to."""
    web = _protocol(path) in ("http", "https")
    if web or fs.isfile(place):
        return [place], place.rpartition("/")[0]
    if fs.isdir(place):
        if _protocol(path) == _LOCAL and not os.access(place, os.R_OK | os.X_OK):
            raise PermissionError(place)
        root = place.rstrip("/")
        found = [each for each in sorted(fs.find(place)) if _is_data(each[len(root) :], suffixes)]
        if not found:
            endings = ", ".join(suffixes)
            raise StageError(
                f"the folder {shown(path)} holds no data files", f"Put files there whose names end with {endings}"
            )
        return found, root
    if pattern := _GLOB.match(place):
        found = sorted(each for each in fs.glob(place) if fs.isfile(each))
        if not found:
            raise StageError(
                f"no file matches {shown(path)}{_looked_in(path)}", "Correct source.path, or put the files there"
            )
        return found, _ESCAPED.sub(r"\1", pattern["fixed"]).rpartition("/")[0]
    if fs.exists(place):
        raise StageError(f"{shown(path)} is neither a file nor a folder", "Correct source.path")
    raise FileNotFoundError(place)


def _looked_in(path: str) -> str:
    return f" (looked in {Path.cwd()})" if _protocol(path) == _LOCAL and not Path(path).is_absolute() else ""


def _is_data(name: str, suffixes: tuple[str, ...]) -> bool:
    hidden = any(part.startswith((".", "_")) for part in name.split("/") if part)
    return not hidden and name.lower().removesuffix(".gz").endswith(suffixes)


@contextlib.contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except (AiWorkflowError, GeneratorExit, MemoryError):
        raise
    except Exception as error:
        found = stage_error(error, shown(path), _protocol(path), _looked_in(path))
        if found is None:
            raise
        raise found from error
