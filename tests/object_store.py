"""An object store in memory: a put is whole or not there, a conditional put creates or fails, and there is no rename.

What S3 promises, by its documentation: strong read-after-write consistency, and `If-None-Match: *` on a put. fsspec's
own `memory://` promises neither: who reads while another writes gets half an object. As in s3fs, each instance caches
its listings unless it is created with `use_listings_cache=False`, and only its own writes drop them.
"""

from __future__ import annotations

import io
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import fsspec
from fsspec.spec import AbstractFileSystem

PROTOCOL = "objects"


class ObjectStore(AbstractFileSystem):  # type: ignore[misc]
    """One for all paths; each call is one request, and requests come one after the other."""

    protocol = PROTOCOL
    cachable = False
    _objects: ClassVar[dict[str, tuple[bytes, datetime]]] = {}
    _requests = threading.RLock()

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        with self._requests:
            if mode == "create" and path in self._objects:
                raise FileExistsError(path)
            self._objects[path] = (bytes(value), datetime.now(UTC))
        self.invalidate_cache(path)

    def invalidate_cache(self, path: str | None = None) -> None:
        if path is None:
            self.dircache.clear()
        while path:
            self.dircache.pop(path, None)
            path = path.rpartition("/")[0]

    def put_file(self, lpath: str, rpath: str, *_: Any, **__: Any) -> None:
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.BytesIO:
        assert mode == "rb"
        with self._requests:
            if path not in self._objects:
                raise FileNotFoundError(path)
            return io.BytesIO(self._objects[path][0])

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        if path not in self.dircache:
            self.dircache[path] = entries = self._list(path)
        else:
            entries = self.dircache[path]
        if not entries:
            raise FileNotFoundError(path)
        return entries if detail else sorted(entry["name"] for entry in entries)

    def _list(self, path: str) -> list[dict[str, Any]]:
        prefix = f"{path.rstrip('/')}/"
        with self._requests:
            below = {name: len(data) for name, (data, _) in self._objects.items() if name.startswith(prefix)}
            exact = self._objects.get(path)
        found: dict[str, dict[str, Any]] = {}
        for name, size in below.items():
            child = prefix + name.removeprefix(prefix).partition("/")[0]
            kind = "file" if child == name else "directory"
            found[child] = {"name": child, "type": kind, "size": size if kind == "file" else 0}
        if exact and not found:
            found[path] = {"name": path, "type": "file", "size": len(exact[0])}
        return list(found.values())

    def rm(self, path: str, recursive: bool = False, **_: Any) -> None:
        with self._requests:
            for name in [name for name in self._objects if name == path or name.startswith(f"{path}/")]:
                del self._objects[name]
        self.invalidate_cache(path)

    def modified(self, path: str) -> datetime:
        return self._objects[path][1]


def register() -> None:
    """Let a URL `objects://name` mean it, in this process."""
    fsspec.register_implementation(PROTOCOL, ObjectStore, clobber=True)
