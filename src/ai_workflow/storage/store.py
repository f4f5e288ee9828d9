"""Durable files under one root (folder or fsspec URL): written whole or not at all, believed only when they match."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, TypedDict

from ai_workflow import json_text
from ai_workflow.errors import StoreError
from ai_workflow.storage.durable import prepare_for_rename, require_writable, write_error
from ai_workflow.storage.local_files import PART, LocalFiles
from ai_workflow.storage.object_files import ObjectFiles

IN_CACHE_KEY = False
_CHUNK = 1 << 20


class FileChecksum(TypedDict):
    """A path below the root of the store and the checksum of the file."""

    path: str
    sha256: str


class FileRecord(FileChecksum):
    """A `FileRef` as JSON."""

    bytes: int


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file of the store: its path below the root, and what its bytes must be."""

    path: str
    sha256: str
    bytes: int

    def to_json(self) -> FileRecord:
        """Return the reference as JSON types."""
        return {"path": self.path, "sha256": self.sha256, "bytes": self.bytes}


class Pending:
    """A file being written: `local` is where to write it; `ref` is set once it is in the store."""

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
        """Return the store, for a reader that a user points at it; whether a bucket exists is not checked.

        Args:
            exists: whether a folder that does not exist is refused as well.

        Raises:
            StoreError: it is a file, or a folder that does not exist.
        """
        if self.is_local and not self.local(".").is_dir() and (exists or self.local(".").exists()):
            raise StoreError(f"the store {self.root} is not a folder. Correct its path")
        return self

    def require_writable(self) -> None:
        """Raise a StoreError, before any work is done, if files cannot be written; an object store is not tested."""
        if self._local is not None:
            require_writable(self.root, self._local.at("."))

    def local(self, path: str) -> Path:
        """Return the local path of a file; only a folder store has one."""
        if self._local is None:
            raise StoreError(f"{self.root}/{path} is not on a local disk")
        return self._local.at(_inside(path))

    def url(self, path: str) -> str:
        """Return how a person names the file: a path or a URL."""
        return str(self.local(path)) if self.is_local else f"{self.root}/{path}"

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Pending]:
        """Give a local file to write; when the block ends well it becomes `path`, else nothing does.

        Raises:
            StoreError: the disk is full or the place cannot be written; what was there before still is.
        """
        pending = Pending(self._part_for(path))
        try:
            yield pending
            pending.ref = self._commit(pending.local, path)
        except OSError as error:
            raise write_error(self.url(path), error) from error
        finally:
            pending.local.unlink(missing_ok=True)

    def write(self, path: str, data: bytes) -> FileRef:
        """Write a whole file atomically and return its reference.

        Raises:
            StoreError: it cannot be written; what was there before still is.
        """
        with self.writing(path) as pending:
            pending.local.write_bytes(data)
        return pending.ref

    def write_new(self, path: str, data: bytes, *, flushed: bool = True) -> bool:
        """Write a whole file unless one of that name exists; return whether this call wrote it.

        Of several writers at once one wins; on an object store, if that has conditional writes, as S3 has.
        A file that is not `flushed` outlives its process, but perhaps not a power cut.

        Raises:
            StoreError: it cannot be written.
        """
        if self._local is not None:
            return self._local.create(_inside(path), data, flushed=flushed)
        assert isinstance(self._files, ObjectFiles)
        return self._files.create(_inside(path), data)

    def read(self, path: str, sha256: str | None = None) -> bytes:
        """Return a file's bytes.

        Raises:
            StoreError: it is missing, cannot be read, or its bytes do not match `sha256`.
        """
        data = self._files.read(_inside(path))
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise StoreError(f"{self.url(path)} is damaged: its sha256 is not the one on record")
        return data

    def open(self, path: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Open a file within the context to read it.

        Raises:
            StoreError: it is missing or cannot be read; on an object store also while it is read.
        """
        return self._files.open(_inside(path))

    def exists(self, path: str) -> bool:
        """Return whether the file or folder exists.

        Raises:
            StoreError: the object store does not answer.
        """
        return self._files.exists(_inside(path))

    def modified(self, path: str) -> datetime:
        """Return when a file was last written, in UTC.

        Raises:
            FileNotFoundError: there is no such file.
            StoreError: the object store does not answer.
        """
        return self._files.modified(_inside(path))

    def matches(self, path: str, sha256: str) -> bool:
        """Return whether the file exists with exactly these bytes."""
        digest = hashlib.sha256()
        try:
            with self.open(path) as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
        except (StoreError, OSError):
            return False
        return digest.hexdigest() == sha256

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder, files being written left out; a missing folder is empty.

        Raises:
            StoreError: the object store does not answer.
        """
        return sorted(name for name in self._files.names(_inside(folder)) if not name.endswith(PART))

    def files(self, folder: str) -> Iterator[tuple[str, int, datetime]]:
        """Yield path, bytes and time (UTC) of every file below a folder, files being written left out.

        A missing folder has none; a file that is deleted meanwhile is left out.

        Raises:
            StoreError: the object store does not answer.
        """
        return (file for file in self._files.files(_inside(folder)) if not file[0].endswith(PART))

    def remove(self, path: str) -> None:
        """Remove a file or a whole folder; a missing one is no error."""
        self._files.remove(_inside(path))

    def remove_parts(self, folder: str) -> None:
        """Remove the half-written files of killed writers in a folder that no process writes to now."""
        if self.is_local:
            for part in self.local(folder).glob(f".*{PART}"):
                part.unlink(missing_ok=True)

    def write_record(self, path: str, body: Any) -> FileRef:
        """Write JSON with its own checksum: `{"body": ..., "sha256": of the body}`."""
        text = json_text.line(body)
        record = {"body": body, "sha256": hashlib.sha256(text.encode()).hexdigest()}
        return self.write(path, json_text.document(record))

    def read_record(self, path: str) -> Any:
        """Return the body of a record.

        Raises:
            StoreError: it is missing, cut short, or does not match its own checksum.
        """
        try:
            record = json.loads(self.read(path))
            body = record["body"]
            text = json_text.line(body)
            is_intact = hashlib.sha256(text.encode()).hexdigest() == record["sha256"]
        except (ValueError, KeyError, TypeError, json_text.NonFiniteNumberError) as error:
            raise StoreError(f"{self.url(path)} is damaged: {error!r}") from error
        if not is_intact:
            raise StoreError(f"{self.url(path)} is damaged: it does not match its own checksum")
        return body

    def _part_for(self, path: str) -> Path:
        """Return a new empty file beside the one to be written, or in the temporary folder."""
        if self._local is not None:
            return self._local.part_for(_inside(path))
        try:
            handle, name = tempfile.mkstemp(prefix=f".{Path(_inside(path)).name}.", suffix=PART)
        except OSError as error:
            raise write_error(self.url(path), error) from error
        os.close(handle)
        return Path(name)

    def _commit(self, written: Path, path: str) -> FileRef:
        digest = hashlib.sha256()
        with written.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
            size = file.tell()
        prepare_for_rename(written, flushed=True)
        self._files.put(written, _inside(path))
        return FileRef(path, digest.hexdigest(), size)


def _inside(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"{path!r} is not a path below the store's root")
    return path
