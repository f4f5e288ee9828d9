"""Leases: processes that use a version. A leased version is never deleted; the lease of a dead process expires.

    leases/model_v1.3.5f0c2a91.json     one line of JSON: the holder, with a heartbeat every ten seconds

On the machine of the holder, a file lock shows whether the process lives. Other machines read its heartbeats. Clocks
may be wrong: a lease that seems silent expires only if it gets no heartbeat while the reader waits for two of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace

from ai_workflow import json_text
from ai_workflow.errors import StoreError
from ai_workflow.storage import locks
from ai_workflow.storage.durable import write_error
from ai_workflow.storage.run_lock import boot_id
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

HEARTBEAT_SECONDS = 10.0
# Leases without a heartbeat for this time are verified.
SILENCE_SECONDS = 60.0
_NAME = re.compile(r"^(model_v\d+\.\d+)\.[0-9a-f]{8}\.json$")
log = logger("leases")


@dataclass(frozen=True, slots=True)
class Lease:
    """A holder of a version; `purpose` is for people, `beat` the Unix timestamp of its last heartbeat by its clock."""

    version: str
    purpose: str
    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)
    boot: str = field(default_factory=boot_id)
    beat: float = field(default_factory=time.time)
    beats: int = 0

    def __str__(self) -> str:
        return f"{self.purpose}, process {self.pid} of {self.host}"

    @property
    def is_on_this_boot(self) -> bool:
        """Whether it was taken on this machine since its last start."""
        return (self.host, self.boot) == (socket.gethostname(), boot_id())

    @property
    def has_stale_heartbeat(self) -> bool:
        """Whether the last heartbeat is older than SILENCE_SECONDS, or in the future."""
        return not -HEARTBEAT_SECONDS <= time.time() - self.beat <= SILENCE_SECONDS


class Leases:
    """The leases in the folder of one registry."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store, self.folder = store, f"{folder}/leases"

    @contextlib.contextmanager
    def held(self, version: str, purpose: str) -> Iterator[None]:
        """Lease a version within the context, with heartbeats from a thread.

        Raises:
            StoreError: the lease cannot be written.
        """
        lease = Lease(version, purpose)
        path = f"{self.folder}/{version}.{uuid.uuid4().hex[:8]}.json"
        handle = self._write(path, lease)
        stop = threading.Event()
        heartbeats = threading.Thread(target=self._beat, args=(path, handle, lease, stop), name="lease", daemon=True)
        heartbeats.start()
        try:
            yield
        finally:
            stop.set()
            heartbeats.join()
            self._remove(path)
            if handle is not None:
                os.close(handle)

    def holders(self, *, verify_heartbeats: bool = False) -> dict[str, list[Lease]]:
        """Return the leases of each version, except those whose holder is known to be dead.

        Args:
            verify_heartbeats: wait for two heartbeats of leases with a stale heartbeat, and remove those that get none.
        """
        leases = {path: lease for path in self._paths() if (lease := self._current(path)) is not None}
        if verify_heartbeats:
            for path in self._without_heartbeat(
                {path: lease for path, lease in leases.items() if lease.has_stale_heartbeat}
            ):
                self._remove(path)
                lease = leases.pop(path)
                log.warning("%s: removed the lease of a dead process: %s", lease.version, lease)
        by_version: dict[str, list[Lease]] = {}
        for lease in leases.values():
            by_version.setdefault(lease.version, []).append(lease)
        return by_version

    def _paths(self) -> list[str]:
        return [f"{self.folder}/{name}" for name in self._store.names(self.folder) if _NAME.match(name)]

    def _current(self, path: str) -> Lease | None:
        """Return a lease, or None if its holder is known to be dead; its file is then removed."""
        lease = self._read(path) or _unknown(path)
        if self._is_locked(path):
            # The lock proves that the holder lives.
            return replace(lease, beat=time.time())
        if self._store.is_local and lease.is_on_this_boot:
            self._remove(path)
            return None
        return lease if self._store.exists(path) else None

    def _read(self, path: str) -> Lease | None:
        """Return a lease, or None if its file cannot be read; damaged content means an unknown holder."""
        try:
            lease = Lease(**json.loads(self._store.read(path)))
            return replace(lease, beat=self._store.local(path).stat().st_mtime) if self._store.is_local else lease
        except (StoreError, OSError):
            return None
        except (ValueError, TypeError):
            return _unknown(path)

    def _without_heartbeat(self, suspects: dict[str, Lease]) -> list[str]:
        """Wait for two heartbeats, and return the leases without any; an unreadable one may have had one."""
        if not suspects:
            return []
        log.info("%d leases have a stale heartbeat: waiting %.0f s for another", len(suspects), 2 * HEARTBEAT_SECONDS)
        time.sleep(2 * HEARTBEAT_SECONDS)
        return [
            path
            for path, before in suspects.items()
            if not self._is_locked(path)
            and (now := self._read(path)) is not None
            and (now.beat, now.beats) == (before.beat, before.beats)
        ]

    def _is_locked(self, path: str) -> bool:
        return self._store.is_local and locks.is_locked(self._store.local(path))

    def _write(self, path: str, lease: Lease) -> int | None:
        """Write a new lease; on a local disk it gets its name once it is locked, and the open lock is returned."""
        data = _text(lease)
        if not self._store.is_local:
            self._store.write(path, data)
            return None
        target = self._store.local(path)
        part = target.with_name(f".{target.name}.part")
        try:
            handle = locks.try_acquire(part)
            assert handle is not None, "the name is random, so no other process holds it"
            os.write(handle, data)
            part.rename(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise write_error(str(target), error) from error
        return handle

    def _beat(self, path: str, handle: int | None, lease: Lease, stop: threading.Event) -> None:
        beats = 0
        while not stop.wait(HEARTBEAT_SECONDS):
            beats += 1
            try:
                if handle is not None:
                    os.utime(handle)
                else:
                    self._store.write(path, _text(replace(lease, beat=time.time(), beats=beats)))
            except (OSError, StoreError) as error:
                log.warning("the heartbeat of the lease of %s failed: %s", lease.version, error)

    def _remove(self, path: str) -> None:
        with contextlib.suppress(OSError, StoreError):
            self._store.remove(path)


def _unknown(path: str) -> Lease:
    """Return the lease of a file by its name, with an unknown holder."""
    version = path.rsplit("/", 1)[-1].rsplit(".", 2)[0]
    return Lease(version, "unknown", pid=0, host="unknown", boot="unknown", beat=0.0)


def _text(lease: Lease) -> bytes:
    return json_text.line(asdict(lease)).encode() + b"\n"
