"""Published model versions: complete or not there; the aliases that point at them; and the history of both.

models/<environment>/<pipeline>/
    model_v2.3/     model file, features.json, card.json, card.md, plots, golden.json, manifest.json
    aliases.json    {"latest": ..., "stable": ..., "change": ...}, written in one atomic write
    history.jsonl   one line for each change, each with the sha256 of the line before

A change happens with `aliases.json`, which bears the line of the history that tells of it: a process killed before it
could add the line leaves nothing untold.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ai_workflow import trace
from ai_workflow.errors import AiWorkflowError, StoreError
from ai_workflow.store import FileRef, Store, sync_folder

MANIFEST = "manifest.json"
ALIASES = ("latest", "stable")
_VERSION = re.compile(r"^model_v(\d+)\.(\d+)$")
_STAGING = ".publishing-"


@dataclass(frozen=True, slots=True)
class Version:
    """A published version: its name, where it lies, and what its manifest vouches for."""

    name: str
    folder: str
    manifest: dict[str, Any]

    def file(self, name: str) -> FileRef:
        """Return the reference of one of its files.

        Raises:
            StoreError: the version has no such file.
        """
        ref = self.manifest["files"].get(name)
        if ref is None:
            raise StoreError(f"{self.name} has no file {name}")
        return FileRef(f"{self.folder}/{name}", ref["sha256"], ref["bytes"])


class Registry:
    """The versions of one pipeline in one environment; `folder` is `Settings.models`."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store = store
        self.folder = folder

    def versions(self) -> list[str]:
        """Return the complete versions, the oldest first."""
        names = [name for name in self._store.names(self.folder) if _VERSION.match(name)]
        complete = [name for name in names if self._store.exists(f"{self.folder}/{name}/{MANIFEST}")]
        return sorted(complete, key=_numbers)

    def aliases(self) -> dict[str, str | None]:
        """Return which version each alias points at.

        Raises:
            StoreError: the file is damaged.
        """
        found = self._aliases_record()
        return {alias: found.get(alias) for alias in ALIASES}

    def _aliases_record(self) -> dict[str, Any]:
        """Return what `aliases.json` holds, or if it is gone, what the history says it held."""
        path = f"{self.folder}/aliases.json"
        if not self._store.exists(path):
            last = self._written_lines()[-1:]
            return {**last[0]["aliases"], "change": last[0]} if last else {}
        try:
            found: dict[str, Any] = self._store.read_record(path)
        except StoreError as error:
            raise StoreError(f"{error}. Remove it: history.jsonl tells what it held") from error
        return found

    def get(self, name: str) -> Version:
        """Return a version by its name or an alias.

        Raises:
            AiWorkflowError: there is no such version.
            StoreError: its manifest is damaged.
        """
        wanted = self.aliases()[name] if name in ALIASES else name
        folder = f"{self.folder}/{wanted}"
        if not wanted or not _VERSION.match(wanted) or not self._store.exists(f"{folder}/{MANIFEST}"):
            there = ", ".join(self.versions()) or "none"
            raise AiWorkflowError(
                f"there is no model version '{name}' in {self._store.url(self.folder)}; there is: {there}. "
                "Run the training flow first"
            )
        return Version(wanted, folder, self._store.read_record(f"{folder}/{MANIFEST}"))

    def read(self, version: Version, name: str) -> bytes:
        """Return a file of a version, verified.

        Raises:
            StoreError: it is missing or damaged.
        """
        ref = version.file(name)
        return self._store.read(ref.path, ref.sha256)

    def publish(
        self,
        files: dict[str, bytes],
        schema: str,
        about: dict[str, Any],
        named: Callable[[str], dict[str, bytes]] = lambda _: {},
        origin: str | None = None,
    ) -> Version:
        """Make a version of the files and point `latest` at it; a first one becomes `stable` too, as there is no other.

        Args:
            files: name -> bytes; all of them, the model and its feature spec included.
            schema: fingerprint of the columns the model asks for; another one raises the major number.
            about: what else the manifest says (kind, scores, …).
            named: files that bear the version's name in them, made once it is known.
            origin: what the version was made from; if `latest` was made from the same, it is that version already:
                its publisher was killed before it could tell.

        Raises:
            StoreError: it cannot be written; no version appears and no alias moves.
        """
        with self._locked():
            self._complete()
            if origin and (done := self._made_from(origin)):
                return done
            name = self._next(schema)
            about = {**about, "origin": origin} if origin else about
            manifest = {**about, "version": name, "schema": schema, "published": _now(), "trace_id": trace.current()}
            self._place(name, files | named(name), manifest)
            try:
                self._make_latest(name, f"passed the gate, after {self.aliases()['latest']}")
            except BaseException:
                if name not in self.aliases().values():
                    self._store.remove(f"{self.folder}/{name}")
                raise
        return self.get(name)

    def _made_from(self, origin: str) -> Version | None:
        """Return `latest` if it was made from `origin` and is whole."""
        try:
            latest = self.get("latest")
        except AiWorkflowError:
            return None
        refs = [latest.file(name) for name in latest.manifest["files"]]
        whole = all(self._store.matches(ref.path, ref.sha256) for ref in refs)
        return latest if whole and latest.manifest.get("origin") == origin else None

    def _complete(self) -> None:
        """Point `latest` at a version whose publisher was killed between placing it and pointing at it."""
        newest = self.versions()[-1:]
        if newest and not any(newest[0] in line["aliases"].values() for line in self._history_lines()):
            self._make_latest(newest[0], "its publishing was interrupted, and completed by the next")

    def _make_latest(self, name: str, reason: str) -> None:
        self._point({"latest": name, "stable": self.aliases()["stable"] or name}, "publish", reason)

    def history(self) -> list[dict[str, Any]]:
        """Return every change of the aliases, the oldest first.

        Raises:
            StoreError: a line was changed or cut out.
        """
        lines = self._history_lines()
        before = ""
        for number, line in enumerate(lines, 1):
            if line["before"] != before:
                raise StoreError(
                    f"{self._store.url(self.folder)}/history.jsonl line {number} does not follow the line before it"
                )
            before = _digest(line)
        return lines

    def _history_lines(self) -> list[dict[str, Any]]:
        lines = self._written_lines()
        last = self._aliases_record().get("change")
        return lines if last is None or last in lines[-1:] else [*lines, last]

    def _written_lines(self) -> list[dict[str, Any]]:
        path = f"{self.folder}/history.jsonl"
        written = self._store.read(path).splitlines() if self._store.exists(path) else []
        try:
            return [json.loads(line) for line in written]
        except ValueError as error:
            raise StoreError(
                f"{self._store.url(path)} is damaged: {error}. Move it away: a new one begins with the next change"
            ) from error

    def _next(self, schema: str) -> str:
        # Those too that lost their manifest: what the history tells of a name must not become another's.
        names = sorted(filter(_VERSION.match, self._store.names(self.folder)), key=_numbers)
        if not names:
            return "model_v1.0"
        major, minor = _numbers(names[-1])
        return f"model_v{major}.{minor + 1}" if self._last_schema() in (schema, None) else f"model_v{major + 1}.0"

    def _last_schema(self) -> str | None:
        for name in reversed(self.versions()):
            with contextlib.suppress(StoreError):
                return str(self._store.read_record(f"{self.folder}/{name}/{MANIFEST}")["schema"])
        return None

    def _place(self, name: str, files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        """Write all files aside, the manifest last, and give the folder its name in one rename."""
        staging = f"{self.folder}/{_STAGING}{uuid.uuid4().hex[:8]}" if self._store.is_local else f"{self.folder}/{name}"
        refs = {}
        try:
            for file, data in files.items():
                ref = self._store.write(f"{staging}/{file}", data)
                refs[file] = {"sha256": ref.sha256, "bytes": ref.bytes}
            self._store.write_record(f"{staging}/{MANIFEST}", {**manifest, "files": refs})
            if self._store.is_local:
                self._store.local(staging).rename(self._store.local(f"{self.folder}/{name}"))
                sync_folder(self._store.local(self.folder))
        except BaseException:
            self._store.remove(staging)
            raise

    def _point(self, aliases: dict[str, str | None], action: str, reason: str) -> None:
        lines = self._history_lines()
        entry = {
            "time": _now(),
            "action": action,
            "aliases": aliases,
            "reason": reason,
            "trace_id": trace.current(),
            "before": _digest(lines[-1]) if lines else "",
        }
        # The line of the change before may be in `aliases.json` only, which is about to tell of this one.
        self._write_history(lines)
        self._store.write_record(f"{self.folder}/aliases.json", {**aliases, "change": entry})
        # It has happened; should the line not be written now, the next change writes it first.
        with contextlib.suppress(StoreError):
            self._write_history([*lines, entry])

    def _write_history(self, lines: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in lines)
        self._store.write(f"{self.folder}/history.jsonl", text.encode())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other publishers of this machine out; the kernel frees the lock when its holder dies."""
        if not self._store.is_local:
            yield
            return
        folder = self._store.local(self.folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise StoreError(f"{folder} cannot be written: {error.strerror}. Mend its permissions") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            for left in folder.glob(f"{_STAGING}*"):
                shutil.rmtree(left)
            yield
        finally:
            os.close(handle)


def _numbers(name: str) -> tuple[int, int]:
    found = _VERSION.match(name)
    assert found is not None
    return int(found[1]), int(found[2])


def _digest(line: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(line, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
