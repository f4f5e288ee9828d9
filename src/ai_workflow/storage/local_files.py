"""Local disk backend of the store, with atomic rename and links."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from ai_workflow.errors import StoreError
from ai_workflow.storage.durable import prepare_for_rename, sync_folder, write_error

PART = ".part"


class LocalFiles:
    """Files below a local folder; paths are relative, with forward slashes."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def at(self, path: str) -> Path:
        """Return the local path of a file."""
        return self._base / path

    def read(self, path: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            StoreError: the file is missing or cannot be read.
        """
        try:
            return self.at(path).read_bytes()
        except OSError as error:
            raise self._read_error(path, error) from error

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        """Open a file within the context to read it.

        Raises:
            StoreError: the file is missing or cannot be opened.
        """
        try:
            file = self.at(path).open("rb")
        except OSError as error:
            raise self._read_error(path, error) from error
        with file:
            yield file

    def part_for(self, path: str) -> Path:
        """Return a new empty file beside `path`; `put` moves it there after it is written.

        Raises:
            StoreError: the folder cannot be written.
        """
        folder = self.at(path).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=folder, prefix=f".{self.at(path).name}.", suffix=PART)
        except OSError as error:
            raise write_error(str(self.at(path)), error) from error
        os.close(handle)
        return Path(name)

    def put(self, written: Path, path: str) -> None:
        """Move a flushed file of the same folder to `path`.

        Raises:
            OSError: the file cannot be moved.
        """
        written.replace(self.at(path))
        sync_folder(self.at(path).parent)

    def create(self, path: str, data: bytes, *, flushed: bool) -> bool:
        """Write a new file and return whether this call created it.

        Raises:
            StoreError: the file cannot be written.
        """
        part = self.part_for(path)
        try:
            part.write_bytes(data)
            prepare_for_rename(part, flushed=flushed)
            os.link(part, self.at(path))
            if flushed:
                sync_folder(part.parent)
        except FileExistsError:
            return False
        except OSError as error:
            raise write_error(str(self.at(path)), error) from error
        finally:
            part.unlink(missing_ok=True)
        return True

    def exists(self, path: str) -> bool:
        """Return whether the file or folder exists."""
        return self.at(path).exists()

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder; a missing folder is empty."""
        try:
            return [entry.name for entry in self.at(folder).iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def files(self, folder: str) -> Iterator[tuple[str, int, datetime]]:
        """Yield path, size in bytes and last modification time of every file below a folder."""
        for path in self.at(folder).rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                if path.is_file():
                    yield str(path.relative_to(self._base)), status.st_size, _utc(status.st_mtime)

    def modified(self, path: str) -> datetime:
        """Return the last modification time of a file.

        Raises:
            FileNotFoundError: there is no such file.
        """
        return _utc(self.at(path).stat().st_mtime)

    def remove(self, path: str) -> None:
        """Remove a file or a folder with its content; a missing one is no error."""
        target = self.at(path)
        shutil.rmtree(target, ignore_errors=True) if target.is_dir() else target.unlink(missing_ok=True)

    def _read_error(self, path: str, error: OSError) -> StoreError:
        return StoreError(f"{self.at(path)} cannot be read: {error.strerror or error}")


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
