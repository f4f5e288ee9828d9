"""Durable files under one root (folder or fsspec URL): written whole or not at all, believed only when they match."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec

from ai_workflow import json_text
from ai_workflow.durable import make_ready, sync_folder, write_error
from ai_workflow.errors import StoreError

_CHUNK = 1 << 20
PART = ".part"


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file of the store: its path below the root, and what its bytes must be."""

    path: str
    sha256: str
    bytes: int

    def to_json(self) -> dict[str, Any]:
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
        if self.is_local:
            self._base = Path(self.root.removeprefix("file://")).absolute()
        else:
            self.fs, self._prefix = fsspec.core.url_to_fs(self.root)

    def local(self, path: str) -> Path:
        """Return the local path of a file; only a folder store has one."""
        if not self.is_local:
            raise StoreError(f"{self.root}/{path} is not on a local disk")
        return self._base / _inside(path)

    def at(self, path: str) -> str:
        """Return where a file is for `fs`, the file system of an object store."""
        return f"{self._prefix}/{_inside(path)}"

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
        """Write a whole file unless there is one of that name, and say whether it did.

        Of several writers at once one wins; on an object store, if that has conditional writes, as S3 has.
        A file that is not `flushed` outlives its process, but perhaps not a power cut.

        Raises:
            StoreError: it cannot be written.
        """
        if not self.is_local:
            try:
                # Exclusive where the place can do that, as S3 can; elsewhere a look before the write.
                self.fs.pipe_file(self.at(path), data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno == errno.EEXIST or self.exists(path):
                    return False
                raise write_error(self.url(path), error) from error
            return True
        part = self._part_for(path)
        try:
            part.write_bytes(data)
            make_ready(part, flushed=flushed)
            os.link(part, self.local(path))
            if flushed:
                sync_folder(part.parent)
        except FileExistsError:
            return False
        except OSError as error:
            raise write_error(self.url(path), error) from error
        finally:
            part.unlink(missing_ok=True)
        return True

    def read(self, path: str, sha256: str | None = None) -> bytes:
        """Return a file's bytes.

        Raises:
            StoreError: it is missing, or its bytes do not match `sha256`.
        """
        with self.open(path) as file:
            data = file.read()
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise StoreError(f"{self.url(path)} is damaged: its sha256 is not the one on record")
        return data

    def open(self, path: str) -> IO[bytes]:
        """Open a file for reading.

        Raises:
            StoreError: it is missing or cannot be read.
        """
        try:
            if self.is_local:
                return self.local(path).open("rb")
            return self.fs.open(self.at(path), "rb")  # type: ignore[no-any-return]
        except OSError as error:
            raise StoreError(f"{self.url(path)} cannot be read: {error.strerror or error}") from error

    def exists(self, path: str) -> bool:
        """Say whether the file or folder is there."""
        if self.is_local:
            return self.local(path).exists()
        return bool(self.fs.exists(self.at(path)))

    def matches(self, path: str, sha256: str) -> bool:
        """Say whether the file is there with just these bytes."""
        digest = hashlib.sha256()
        try:
            with self.open(path) as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
        except (StoreError, OSError):
            return False
        return digest.hexdigest() == sha256

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder, files being written left out; a missing folder is empty."""
        if self.is_local:
            place = self.local(folder)
            found = [entry.name for entry in place.iterdir()] if place.is_dir() else []
        else:
            place_url = self.at(folder)
            found = (
                [Path(entry).name for entry in self.fs.ls(place_url, detail=False)] if self.fs.isdir(place_url) else []
            )
        return sorted(name for name in found if not name.endswith(PART))

    def remove(self, path: str) -> None:
        """Remove a file or a whole folder; a missing one is fine."""
        if self.is_local:
            place = self.local(path)
            shutil.rmtree(place, ignore_errors=True) if place.is_dir() else place.unlink(missing_ok=True)
        elif self.exists(path):
            self.fs.rm(self.at(path), recursive=True)

    def remove_parts(self, folder: str) -> None:
        """Remove what killed writers left half-written in a folder; only for one that nobody else writes to now."""
        if self.is_local:
            for part in self.local(folder).glob(f".*{PART}"):
                part.unlink(missing_ok=True)

    def write_record(self, path: str, body: Any) -> FileRef:
        """Write JSON that vouches for itself: `{"body": ..., "sha256": of the body}`."""
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
            vouched = hashlib.sha256(text.encode()).hexdigest() == record["sha256"]
        except (ValueError, KeyError, TypeError, json_text.NotFinite) as error:
            raise StoreError(f"{self.url(path)} is damaged: {error!r}") from error
        if not vouched:
            raise StoreError(f"{self.url(path)} is damaged: it does not match its own checksum")
        return body

    def _part_for(self, path: str) -> Path:
        """Return a new empty file beside the one to be written, or where temporary files are."""
        folder = self.local(path).parent if self.is_local else None
        try:
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=folder, prefix=f".{Path(_inside(path)).name}.", suffix=PART)
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
        make_ready(written, flushed=True)
        if self.is_local:
            written.replace(self.local(path))
            sync_folder(self.local(path).parent)
        else:
            # An object store has no rename, but one put is whole or not there.
            self.fs.put_file(str(written), self.at(path))
        return FileRef(path, digest.hexdigest(), size)


def _inside(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"{path!r} is not a path below the store's root")
    return path
