"""Object store backend of the store through fsspec: no cached listings, and every error is a StoreError.

Other processes change the same files, and a cached listing or ETag would hide their changes. Each call is therefore a
request of its own.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import fsspec

from ai_workflow.errors import AiWorkflowError, StoreError
from ai_workflow.storage import memory_errors, remote_errors
from ai_workflow.storage.durable import write_error

# S3 answers 409 while two conditional writes of one key are in progress; the next attempt sees which of them won.
_CREATE_ATTEMPTS = 3
_ENDPOINT = re.compile(r"https?://[^/\s\"']+")
_REMEDY = "Check that the object store is reachable and that these credentials may use it"


class ObjectFiles:
    """Files below an fsspec URL; paths are relative, with forward slashes.

    Args:
        root: an fsspec URL without a trailing slash, as `s3://bucket/prod`.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._fs, self._prefix = fsspec.core.url_to_fs(root, use_listings_cache=False)

    def read(self, path: str) -> bytes:
        """Return the bytes of a file in one request, so that they are from one version of the file.

        Raises:
            StoreError: the file is missing or cannot be read.
        """
        with self._reading(path):
            return bytes(self._fs.cat_file(self._at(path)))

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        """Open a file within the context to read parts of it.

        Raises:
            StoreError: the file is missing, cannot be read, or is overwritten while it is read.
        """
        with self._reading(path):
            file = self._fs.open(self._at(path), "rb")
        with file:
            yield cast("IO[bytes]", _Readable(file, lambda: self._reading(path)))

    def put(self, written: Path, path: str) -> None:
        """Upload a local file; readers see all of it or nothing.

        Raises:
            StoreError: the file cannot be written.
        """
        with self._writing(path):
            self._fs.put_file(str(written), self._at(path))

    def create(self, path: str, data: bytes) -> bool:
        """Write a new file and return whether this call created it; exclusive if the store has conditional writes.

        Raises:
            StoreError: the file cannot be written.
        """
        for attempt in range(1, _CREATE_ATTEMPTS + 1):
            try:
                with self._writing(path):
                    self._fs.pipe_file(self._at(path), data, mode="create")
                return True
            except FileExistsError:
                return False
            except StoreError:
                if self.exists(path):
                    return False
                if attempt == _CREATE_ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def exists(self, path: str) -> bool:
        """Return whether the file or folder exists.

        Raises:
            StoreError: the store does not answer.
        """
        with self._reading(path):
            return bool(self._fresh().exists(self._at(path)))

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder; a missing folder is empty.

        Raises:
            StoreError: the store does not answer.
        """
        prefix = self._at(folder)
        with self._reading(folder):
            try:
                listed = self._fresh().ls(prefix, detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        # The listing of a file, or of a folder with a marker object, contains the path itself.
        return [PurePosixPath(entry).name for entry in listed if entry.rstrip("/") != prefix.rstrip("/")]

    def files(self, folder: str) -> Iterator[tuple[str, int, datetime]]:
        """Yield path, size in bytes and last modification time of every file below a folder.

        Raises:
            StoreError: the store does not answer.
        """
        prefix = self._at(folder)
        with self._reading(folder):
            listed = self._fresh().find(prefix, detail=True)
        for url, entry in listed.items():
            path = f"{folder}{url.removeprefix(prefix)}"
            # A file that was deleted after the listing is skipped.
            if (modified := entry.get("LastModified") or self._modified(path)) is not None:
                yield path, int(entry["size"] or 0), modified

    def modified(self, path: str) -> datetime:
        """Return the last modification time of a file.

        Raises:
            FileNotFoundError: there is no such file.
            StoreError: the store does not answer.
        """
        moment = self._modified(path)
        if moment is None:
            raise FileNotFoundError(self._url(path))
        return moment

    def remove(self, path: str) -> None:
        """Remove a file or a folder with its content; a missing one is no error.

        Raises:
            StoreError: the file cannot be removed.
        """
        with self._writing(path), contextlib.suppress(FileNotFoundError):
            self._fresh().rm(self._at(path), recursive=True)

    def _modified(self, path: str) -> datetime | None:
        with self._reading(path):
            try:
                moment: datetime = self._fresh().modified(self._at(path))
            except FileNotFoundError:
                return None
        return moment

    def _fresh(self) -> Any:
        """Return the file system with an empty cache, because some file systems ignore `use_listings_cache`."""
        self._fs.invalidate_cache()
        return self._fs

    def _at(self, path: str) -> str:
        return f"{self._prefix}/{path}" if path else self._prefix

    def _url(self, path: str) -> str:
        return f"{self._root}/{path}"

    @contextlib.contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        try:
            yield
        except (AiWorkflowError, MemoryError):
            raise
        except FileNotFoundError as error:
            raise StoreError(f"{self._url(path)} cannot be read: No such file or directory") from error
        except Exception as error:  # each client library has its own
            if memory_errors.is_shortage(error):
                raise
            raise StoreError(f"{self._url(path)} cannot be read: {self._reason(error)}") from error

    @contextlib.contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        try:
            yield
        except (AiWorkflowError, FileExistsError, MemoryError):
            raise
        except OSError as error:
            raise write_error(self._url(path), error) from error
        except Exception as error:  # each client library has its own
            if memory_errors.is_shortage(error):
                raise
            raise StoreError(f"{self._url(path)} cannot be written: {self._reason(error)}") from error

    def _reason(self, error: Exception) -> str:
        """Return the reason of an error and the remedy."""
        remedy = remote_errors.credentials_remedy(error, self._root.partition("://")[0])
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return f"{self._unreachable(error) or reason}. {remedy or _REMEDY}"

    def _unreachable(self, error: Exception) -> str | None:
        """Return why the store cannot be reached, with the endpoint if the client names it."""
        reason = remote_errors.unreachable(error)
        endpoint = _ENDPOINT.search(" ".join(map(str, remote_errors.chain(error))))
        return f"{endpoint[0]}: {reason}" if reason and endpoint else reason


class _Readable(io.RawIOBase):
    """An open file whose errors are StoreErrors."""

    def __init__(self, file: IO[bytes], reading: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self._file, self._reading = file, reading

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        with self._reading():
            data = self._file.read(len(view))
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with self._reading():
            return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
