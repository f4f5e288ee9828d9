"""Leases: who uses a version now. One that is leased is never deleted, and a holder that is gone leases nothing.

    leases/model_v1.3.5f0c2a91.json     one line of JSON: who holds it; its holder beats every ten seconds

On the machine of the holder the kernel knows whether it lives: the file is locked as long as its process is. Elsewhere
its heartbeats tell. A clock may be wrong, or be set: one that seems silent is watched for a while, and only if it does
not beat then, by the watcher's own steady clock, it is gone.
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

BEAT_SECONDS = 10.0
# A holder that was silent for so long is looked at closely.
SILENCE_SECONDS = 60.0
_NAME = re.compile(r"^(model_v\d+\.\d+)\.[0-9a-f]{8}\.json$")
log = logger("leases")


@dataclass(frozen=True, slots=True)
class Lease:
    """One holder of one version; `purpose` is what a person reads, `beat` seconds since the epoch by its clock."""

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
    def is_here(self) -> bool:
        """Whether it was taken on this machine since it was last started."""
        return (self.host, self.boot) == (socket.gethostname(), boot_id())

    @property
    def seems_silent(self) -> bool:
        """Whether its last heartbeat is long ago, or in the future: then a clock is wrong, and says nothing."""
        return not -BEAT_SECONDS <= time.time() - self.beat <= SILENCE_SECONDS


class Leases:
    """The leases in one registry's folder."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store, self.folder = store, f"{folder}/leases"

    @contextlib.contextmanager
    def held(self, version: str, purpose: str) -> Iterator[None]:
        """Lease a version within the context, with heartbeats from a thread of its own.

        Raises:
            StoreError: the lease cannot be written.
        """
        lease = Lease(version, purpose)
        path = f"{self.folder}/{version}.{uuid.uuid4().hex[:8]}.json"
        handle = self._write(path, lease)
        over = threading.Event()
        beating = threading.Thread(target=self._beat, args=(path, handle, lease, over), name="lease", daemon=True)
        beating.start()
        try:
            yield
        finally:
            over.set()
            beating.join()
            self._forget(path)
            if handle is not None:
                os.close(handle)

    def holders(self, *, watch: bool = False) -> dict[str, list[Lease]]:
        """Return the leases of each version whose holder lives, or may live.

        Args:
            watch: look closely at those that seem silent, for two heartbeats, and remove those that are gone.
        """
        found = {path: lease for path in self._paths() if (lease := self._look(path)) is not None}
        if watch:
            for path in self._silent({path: lease for path, lease in found.items() if lease.seems_silent}):
                log.warning("%s: its lease is removed, the holder is gone: %s", found[path].version, found[path])
                self._forget(path)
                del found[path]
        held: dict[str, list[Lease]] = {}
        for lease in found.values():
            held.setdefault(lease.version, []).append(lease)
        return held

    def _paths(self) -> list[str]:
        return [f"{self.folder}/{name}" for name in self._store.names(self.folder) if _NAME.match(name)]

    def _look(self, path: str) -> Lease | None:
        """Return a lease, or None if its holder is gone for sure; then its file is removed, too."""
        lease = self._read(path) or _unknown(path)
        if self._is_locked(path):
            # The holder lives, whatever its heartbeats say.
            return replace(lease, beat=time.time())
        if self._store.is_local and lease.is_here:
            self._forget(path)
            return None
        return lease if self._store.exists(path) else None

    def _read(self, path: str) -> Lease | None:
        """Return a lease, or None if its file cannot be read; one with damaged content has an unknown holder."""
        try:
            lease = Lease(**json.loads(self._store.read(path)))
            return replace(lease, beat=self._store.local(path).stat().st_mtime) if self._store.is_local else lease
        except (StoreError, OSError):
            return None
        except (ValueError, TypeError):
            return _unknown(path)

    def _silent(self, suspects: dict[str, Lease]) -> list[str]:
        """Watch leases for two heartbeats, and return those that did not beat; an unreadable one may have."""
        if not suspects:
            return []
        log.info("%d leases seem silent: watching them for %.0f s", len(suspects), 2 * BEAT_SECONDS)
        time.sleep(2 * BEAT_SECONDS)
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
        """Write a new lease; on a local disk it has its name only when it is locked, and returned is the lock."""
        data = _text(lease)
        if not self._store.is_local:
            self._store.write(path, data)
            return None
        place = self._store.local(path)
        part = place.with_name(f".{place.name}.part")
        try:
            handle = locks.try_acquire(part)
            assert handle is not None, "the name is random, so no other process holds it"
            os.write(handle, data)
            part.rename(place)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise write_error(str(place), error) from error
        return handle

    def _beat(self, path: str, handle: int | None, lease: Lease, over: threading.Event) -> None:
        beats = 0
        while not over.wait(BEAT_SECONDS):
            beats += 1
            try:
                if handle is not None:
                    os.utime(handle)
                else:
                    self._store.write(path, _text(replace(lease, beat=time.time(), beats=beats)))
            except (OSError, StoreError) as error:
                log.warning("the lease of %s did not beat: %s", lease.version, error)

    def _forget(self, path: str) -> None:
        with contextlib.suppress(OSError, StoreError):
            self._store.remove(path)


def _unknown(path: str) -> Lease:
    """Return the lease that a file's name stands for where its content gives no holder."""
    version = path.rsplit("/", 1)[-1].rsplit(".", 2)[0]
    return Lease(version, "unknown", pid=0, host="unknown", boot="unknown", beat=0.0)


def _text(lease: Lease) -> bytes:
    return json_text.line(asdict(lease)).encode() + b"\n"
