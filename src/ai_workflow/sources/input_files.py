"""Input files on a disk or at a URL, through fsspec: finding, digesting and opening them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import fsspec

from ai_workflow.errors import AiWorkflowError, StageError
from ai_workflow.secret_values import scrub
from ai_workflow.sources.file_errors import stage_error
from ai_workflow.storage.file_names import require_utf8

_CHUNK = 1 << 20
# `[*]`, `[?]` and `[[]` are escaped characters, which start no pattern.
_ESCAPED = re.compile(r"\[([*?\[])\]")
_GLOB = re.compile(rf"(?P<fixed>(?:{_ESCAPED.pattern}|[^*?\[])*+)[*?\[]")
_PACKED = re.compile(r"\.(gz|bz2|xz|zst|zip)$")
_LOCAL = "file"
# First bytes of an archive with files, and of one without.
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
# Protocol -> extra of this package; for other protocols, the error of fsspec names the package.
_EXTRAS = {"s3": "s3", "s3a": "s3"}


@dataclass(frozen=True, slots=True)
class InputFile:
    """An input file: name below the root of the source, path or URL, expected digest and size.

    A file in a zip archive has the path of the archive, its name there as `member`, and its own digest and size.
    """

    name: str
    path: str
    sha256: str
    bytes: int
    member: str = ""

    @property
    def shown(self) -> str:
        """The path for messages, without the credentials of a URL."""
        return shown(self.path) + (f"/{self.member}" if self.member else "")

    def changed(self) -> StageError:
        """Return the error of a file that has changed since it was inspected."""
        return StageError(
            f"{self.shown} changed while it was read",
            "Run again once nothing writes to it; write new files elsewhere first",
        )


def shown(path: str) -> str:
    """Return a path or URL without credentials."""
    return scrub(re.sub(r"//[^/@\s]*@", "//***@", path))


def find(
    path: str,
    suffixes: tuple[str, ...],
    base: Path | None = None,
    members: Callable[[InputFile, tuple[str, ...]], list[InputFile]] | None = None,
) -> list[dict[str, Any]]:
    """Return the files of a path, glob, folder or URL, sorted, as JSON `{name, path, sha256, bytes}`.

    Args:
        path: in a folder, only names that end with one of `suffixes` and do not start with `.` or `_` count.
        suffixes: endings of data files, optionally followed by `.gz`, `.bz2`, `.xz`, `.zst` or `.zip`.
        base: the folder for a relative path; the current folder if not given.
        members: returns the files in a zip archive.

    Raises:
        StageError: there is no file, it cannot be read, a file is empty, or a name is not UTF-8.
        TransientError: the server cannot be reached.
    """
    fs, location, is_local = _resolve(path, base)
    require_utf8(location, "source.path")
    with _errors_translated(path):
        paths, root = _matching(fs, location, suffixes, path)
    files: list[InputFile] = []
    for each in paths:
        require_utf8(each, "source.path")
        name = each[len(root) :].lstrip("/") if each.startswith(root) else Path(each).name
        url = each if is_local else (path if len(paths) == 1 and each == location else fs.unstrip_protocol(each))
        content = _read_all(url)
        if content.size == 0:
            raise empty(shown(url))
        file = InputFile(name or Path(each).name, url, content.sha256, content.size)
        is_archive = members is not None and content.start.startswith(_ZIP)
        files += members(file, suffixes) if members and is_archive else [file]
    return [{key: value for key, value in asdict(file).items() if value != ""} for file in files]


def empty(name: str) -> StageError:
    """Return the error of a file without a byte."""
    return StageError(f"{name} is empty", "Give a file with rows, or take it out of the source")


def digest(path: str) -> tuple[str, int]:
    """Return the sha256 and the size of a file.

    Raises:
        StageError: the file is missing or cannot be read.
    """
    content = _read_all(path)
    return content.sha256, content.size


def _read_all(path: str) -> HashingReader:
    with opened(path) as file:
        return HashingReader(file).read_all()


@contextlib.contextmanager
def opened(path: str, stream: bool = True) -> Iterator[IO[bytes]]:
    """Open a file for reading; errors within the context become stage errors.

    Args:
        path: a path or URL from `find`.
        stream: whether the file is read once from start to end.

    Raises:
        StageError: the file is missing or cannot be read.
        TransientError: the server cannot be reached.
    """
    if path.startswith("/"):
        # Without fsspec, which takes longer than a small file.
        with _errors_translated(path), Path(path).open("rb") as local:
            yield local
        return
    fs, location, _ = _resolve(path, None)
    # A stream works with web servers that do not support range requests.
    options = {"block_size": 0} if stream and _protocol(path) in ("http", "https") else {}
    with _errors_translated(path), fs.open(location, "rb", **options) as file:
        yield file


class HashingReader:
    """Reader of a file from start to end: sha256, size and the first bytes (`start`) of what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0
        self.start = b""

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; empty at the end."""
        data = self._file.read(size)
        self.start = self.start or data[:4]
        self._digest.update(data)
        self.size += len(data)
        return data

    def read_all(self) -> HashingReader:
        """Read to the end, and return this reader."""
        while self.read(_CHUNK):
            pass
        return self

    @property
    def sha256(self) -> str:
        """Hex digest of all bytes read so far."""
        return self._digest.hexdigest()


def _protocol(path: str) -> str:
    return path.split("://", 1)[0] if "://" in path else _LOCAL


def _resolve(path: str, base: Path | None) -> tuple[Any, str, bool]:
    """Return the file system, the path inside it, and whether it is the local disk."""
    protocol = _protocol(path).split("::")[0]
    if protocol == _LOCAL:
        local_path = Path(path.removeprefix("file://")).expanduser()
        return fsspec.filesystem(_LOCAL), str((base or Path.cwd()) / local_path), True
    try:
        fs, location = fsspec.core.url_to_fs(path)
        # Without this, a long-lived process such as a worker would only see the files of its first listing.
        fs.invalidate_cache()
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        remedy = f"Install it: .venv/bin/pip install -e '.[{extra}]'" if extra else str(error)
        raise StageError(f"{shown(path)} needs a package for {protocol}:// that is not installed", remedy) from error
    except ValueError as error:
        raise StageError(
            f"{shown(path)} is not a path or URL that can be opened: {scrub(str(error))}", "Correct source.path"
        ) from error
    return fs, location, False


def _matching(fs: Any, location: str, suffixes: tuple[str, ...], path: str) -> tuple[list[str], str]:
    """Return the files and the folder that their names are relative to."""
    is_web = _protocol(path) in ("http", "https")
    if is_web or fs.isfile(location):
        return [location], location.rpartition("/")[0]
    if fs.isdir(location):
        if _protocol(path) == _LOCAL and not os.access(location, os.R_OK | os.X_OK):
            raise PermissionError(location)
        root = location.rstrip("/")
        files = [each for each in sorted(fs.find(location)) if is_data(each[len(root) :], suffixes)]
        if not files:
            endings = ", ".join(suffixes)
            raise StageError(
                f"the folder {shown(path)} holds no data files", f"Put files there whose names end with {endings}"
            )
        return files, root
    if pattern := _GLOB.match(location):
        files = sorted(each for each in fs.glob(location) if fs.isfile(each))
        if not files:
            raise StageError(
                f"no file matches {shown(path)}{_looked_in(path)}", "Correct source.path, or put the files there"
            )
        return files, _ESCAPED.sub(r"\1", pattern["fixed"]).rpartition("/")[0]
    if fs.exists(location):
        raise StageError(f"{shown(path)} is neither a file nor a folder", "Correct source.path")
    raise FileNotFoundError(location)


def _looked_in(path: str) -> str:
    return f" (looked in {Path.cwd()})" if _protocol(path) == _LOCAL and not Path(path).is_absolute() else ""


def is_data(name: str, suffixes: tuple[str, ...]) -> bool:
    """Return whether a name in a folder or an archive is that of a data file."""
    hidden = any(part.startswith((".", "_")) for part in name.split("/") if part)
    return not hidden and any(each.endswith(suffixes) for each in (name.lower(), _PACKED.sub("", name.lower())))


@contextlib.contextmanager
def _errors_translated(path: str) -> Iterator[None]:
    try:
        yield
    except (AiWorkflowError, GeneratorExit, MemoryError):
        raise
    except Exception as error:
        translated = stage_error(error, shown(path), _protocol(path), _looked_in(path))
        if translated is None:
            raise
        raise translated from error
