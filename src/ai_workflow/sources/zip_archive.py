"""Files in zip archives, read as a stream like files of their own; an archive is never unpacked to a disk."""

from __future__ import annotations

import contextlib
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import IO

from ai_workflow.errors import StageError
from ai_workflow.sources import input_files
from ai_workflow.sources.input_files import HashingReader, InputFile
from ai_workflow.storage.file_names import require_utf8

_ENCRYPTED = 1
_WORKBOOK = "[Content_Types].xml"
_ZIP = b"PK\x03\x04"
_SHOWN = 5
_DAMAGES = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)


def members(file: InputFile, suffixes: tuple[str, ...]) -> list[InputFile]:
    """Return the data files in an archive: the only file, or those whose names end with one of `suffixes`.

    Raises:
        StageError: the archive is damaged, encrypted or has no data file.
    """
    with _archive(file) as archive:
        names = [each.filename for each in archive.infolist()]
        if _WORKBOOK in names:
            return [file]
        found = [_member(archive, info, file) for info in _data_members(archive, suffixes, file)]
    return [
        InputFile(f"{file.name}/{name}", file.path, content.sha256, content.size, name)
        for name, content in sorted(found, key=lambda each: each[0])
    ]


@contextlib.contextmanager
def opened(file: InputFile) -> Iterator[IO[bytes]]:
    """Open a file, or the file in an archive, to read it once from start to end.

    Raises:
        StageError: the file is missing or cannot be read.
        TransientError: the server cannot be reached.
    """
    if not file.member:
        with input_files.opened(file.path) as raw:
            yield raw
        return
    with _archive(file) as archive:
        if file.member not in archive.namelist():
            raise file.changed()
        with archive.open(file.member) as member:
            yield member


def _data_members(archive: zipfile.ZipFile, suffixes: tuple[str, ...], file: InputFile) -> list[zipfile.ZipInfo]:
    """Return the entries of the data files."""
    infos = [each for each in archive.infolist() if not each.is_dir() and not _is_hidden(each.filename)]
    found = infos if len(infos) == 1 else [each for each in infos if input_files.is_data(each.filename, suffixes)]
    if not found:
        names = ", ".join(each.filename for each in infos[:_SHOWN]) or "no file"
        endings = ", ".join(suffixes)
        raise StageError(
            f"the zip archive {file.shown} holds no data files, but {names}",
            f"Put one file into it, or name its data files with {endings}",
        )
    name, count = Counter(each.filename for each in found).most_common(1)[0]
    if count > 1:
        raise StageError(f"the zip archive {file.shown} holds {count} files named {name}", "Pack it again")
    if locked := [each.filename for each in found if each.flag_bits & _ENCRYPTED]:
        raise StageError(f"{file.shown}/{locked[0]} is encrypted", "Unpack it, or pack it again without a password")
    return found


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in name.split("/"))


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: InputFile) -> tuple[str, HashingReader]:
    require_utf8(info.filename, "a file in the archive")
    with archive.open(info) as stream:
        content = HashingReader(stream).read_all()
    name = f"{file.shown}/{info.filename}"
    if not content.size:
        raise input_files.empty(name)
    if content.start == _ZIP:
        raise StageError(f"{name} is an archive or a workbook in another archive", "Unpack it")
    return info.filename, content


@contextlib.contextmanager
def _archive(file: InputFile) -> Iterator[zipfile.ZipFile]:
    """Open an archive; errors of its format within the context become stage errors."""
    with _seekable(file) as raw:
        try:
            with zipfile.ZipFile(raw) as archive:
                yield archive
        except NotImplementedError as error:
            raise StageError(f"{file.shown} cannot be unpacked: {error}", "Pack it again by deflate") from error
        except (*_DAMAGES, OSError) as error:
            # The error of a disk or network has a number, that of a decoder has none.
            if not isinstance(error, _DAMAGES) and error.errno is not None:
                raise
            raise StageError(
                f"{input_files.shown(file.path)} is a damaged or cut off zip archive: {error}", "Copy or pack it again"
            ) from error


@contextlib.contextmanager
def _seekable(file: InputFile) -> Iterator[IO[bytes]]:
    """Open an archive, which is read from its end; a web server may send files from the start only."""
    if not file.path.startswith(("http://", "https://")):
        with input_files.opened(file.path, stream=False) as raw:
            yield raw
        return
    with input_files.opened(file.path) as raw, tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(raw, copy)
        copy.seek(0)
        yield copy
