"""Store of durable files below a folder or an fsspec URL, with atomic writes and checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from ai_workflow import json_text
from ai_workflow.errors import StoreError
from ai_workflow.storage.durable import prepare_for_rename, require_writable, write_error
from ai_workflow.storage.file_ref import FileRef
from ai_workflow.storage.local_files import PART, LocalFiles
from ai_workflow.storage.object_files import ObjectFiles

IN_CACHE_KEY = False


class PendingFile:
    """A file being written at the path `local`; `ref` is set once it is in the store."""

    def __init__(self, local: Path) -> None:
        self.local = local
        self.ref: FileRef


class Store:
    """Atomic, checksummed files below `root`; paths are relative, with forward slashes."""

    def __init__(self, root: str | Path) -> None:
        self.root = str(root) if str(root).endswith("://") else str(root).rstrip("/") or "/"
        self.is_local = "://" not in self.root or self.root.startswith("file://")
        self._local = LocalFiles(Path(self.root.removeprefix("file://")).absolute()) if self.is_local else None
        self._files = self._local or ObjectFiles(self.root)

    def require(self, *, exists: bool = True) -> Store:
        """Return the store after checking its folder; a bucket is not checked.

        Args:
            exists: whether a missing folder is an error as well.

        Raises:
            StoreError: the root is a file, or a missing folder.
        """
        if self.is_local and not self.local(".").is_dir() and (exists or self.local(".").exists()):
            raise StoreError(f"the store {self.root} is not a folder. Correct its path")
        return self

    def require_writable(self) -> None:
        """Raise StoreError if no file can be written; an object store is not checked."""
        if self._local is not None:
            require_writable(self.root, self._local.at("."))

    def local(self, path: str) -> Path:
        """Return the local path of a file; raise StoreError for an object store."""
        if self._local is None:
            raise StoreError(f"{self.root}/{path} is not on a local disk")
        return self._local.at(_inside(path))

    def url(self, path: str) -> str:
        """Return the path or URL of a file, for messages."""
        return str(self.local(path)) if self.is_local else f"{self.root}/{path}"

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[PendingFile]:
        """Yield a local file to write; it becomes `path` if the context ends without an error.

        Raises:
            StoreError: the file cannot be written; the previous content remains.
        """
        pending = PendingFile(self._part_for(path))
        try:
            yield pending
            pending.ref = self._commit(pending.local, path)
        except OSError as error:
            raise write_error(self.url(path), error) from error
        finally:
            pending.local.unlink(missing_ok=True)

    def write(self, path: str, data: bytes) -> FileRef:
        """Write a file atomically and return its reference.

        Raises:
            StoreError: the file cannot be written; the previous content remains.
        """
        with self.writing(path) as pending:
            pending.local.write_bytes(data)
        return pending.ref

    def write_new(self, path: str, data: bytes, *, flushed: bool = True) -> bool:
        """Write a file unless it exists; return whether this call wrote it.

        Of several concurrent writers exactly one succeeds; on an object store, if it has conditional writes, as S3 has.
        A file that is not `flushed` survives the end of its process, but perhaps not a power failure.

        Raises:
            StoreError: the file cannot be written.
        """
        if self._local is not None:
            return self._local.create(_inside(path), data, flushed=flushed)
        assert isinstance(self._files, ObjectFiles)
        return self._files.create(_inside(path), data)

    def read(self, path: str, sha256: str | None = None) -> bytes:
        """Return the bytes of a file.

        Raises:
            StoreError: the file is missing, cannot be read, or does not match `sha256`.
        """
        data = self._files.read(_inside(path))
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise StoreError(f"{self.url(path)} is damaged: its sha256 is not the one on record")
        return data

    def open(self, path: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Open a file within the context to read it.

        Raises:
            StoreError: the file is missing or cannot be read; on an object store also while it is read.
        """
        return self._files.open(_inside(path))

    def exists(self, path: str) -> bool:
        """Return whether the file or folder exists.

        Raises:
            StoreError: the object store does not answer.
        """
        return self._files.exists(_inside(path))

    def modified(self, path: str) -> datetime:
        """Return the last modification time of a file, in UTC.

        Raises:
            FileNotFoundError: there is no such file.
            StoreError: the object store does not answer.
        """
        return self._files.modified(_inside(path))

    def matches(self, path: str, sha256: str) -> bool:
        """Return whether the file exists with exactly these bytes."""
        try:
            with self.open(path) as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256  # type: ignore[arg-type]
        except (StoreError, OSError):
            return False

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder, without files being written; a missing folder is empty.

        Raises:
            StoreError: the object store does not answer.
        """
        return sorted(name for name in self._files.names(_inside(folder)) if not name.endswith(PART))

    def files(self, folder: str) -> Iterator[tuple[str, int, datetime]]:
        """Yield path, size in bytes and modification time (UTC) of every file below a folder.

        Files being written, and files deleted during the listing, are skipped; a missing folder is empty.

        Raises:
            StoreError: the object store does not answer.
        """
        return (file for file in self._files.files(_inside(folder)) if not file[0].endswith(PART))

    def remove(self, path: str) -> None:
        """Remove a file or a folder with its content; a missing one is no error."""
        self._files.remove(_inside(path))

    def remove_parts(self, folder: str) -> None:
        """Remove the partial files of killed writers; the caller makes sure that no process writes to the folder."""
        if self.is_local:
            for part in self.local(folder).glob(f".*{PART}"):
                part.unlink(missing_ok=True)

    def write_record(self, path: str, body: Any) -> FileRef:
        """Write JSON with its own checksum: `{"body": ..., "sha256": of the body}`."""
        text = json_text.line(body)
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        # The text of the checksum is written, because that of a large record takes long to compute.
        return self.write(path, f'{{"body": {text}, "sha256": "{sha256}"}}\n'.encode())

    def read_record(self, path: str) -> Any:
        """Return the body of a record.

        Raises:
            StoreError: the record is missing, truncated, or does not match its checksum.
        """
        try:
            record = json.loads(self.read(path))
            body = record["body"]
            is_intact = hashlib.sha256(json_text.line(body).encode()).hexdigest() == record["sha256"]
        except (ValueError, KeyError, TypeError, json_text.NonFiniteNumberError) as error:
            raise StoreError(f"{self.url(path)} is damaged: {error!r}") from error
        if not is_intact:
            raise StoreError(f"{self.url(path)} is damaged: it does not match its own checksum")
        return body

    def _part_for(self, path: str) -> Path:
        """Return a new empty file beside `path`, or in the temporary folder for an object store."""
        if self._local is not None:
            return self._local.part_for(_inside(path))
        try:
            handle, name = tempfile.mkstemp(prefix=f".{Path(_inside(path)).name}.", suffix=PART)
        except OSError as error:
            raise write_error(self.url(path), error) from error
        os.close(handle)
        return Path(name)

    def _commit(self, part: Path, path: str) -> FileRef:
        with part.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
        prepare_for_rename(part, flushed=True)
        self._files.put(part, _inside(path))
        return FileRef(path, sha256, size)


def _inside(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"{path!r} is not a path below the store's root")
    return path
