"""A running service for tests: a real process on a free port, with models that can be made to fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.processes import ServerLog
from tests.serving import published_models

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_STARTED, _ENDED = 120.0, 90.0
CLI = ("-c", "from ai_workflow.cli.main import main; main()", "serve")


class Running:
    """A service, started and listening; use it as a context manager.

    Args:
        pipeline: its pipeline file; None: all pipelines of the project that AIW_ROOT names.
        root: its store; made if it is missing.
        faults: a folder where a file `<version>` says how that version fails; none: models cannot fail.
        program: the arguments of Python that start it, in place of those of `ai-workflow serve`.
        variables: its environment.
    """

    def __init__(
        self,
        pipeline: Path | None,
        root: Path,
        faults: Path | None = None,
        program: Sequence[str] = CLI,
        **variables: str,
    ) -> None:
        # The command refuses a store that does not exist.
        root.mkdir(parents=True, exist_ok=True)
        place = [*(["--pipeline", str(pipeline)] if pipeline else ["--all"]), "--store", str(root)]
        serve = ["serve", *place]
        if faults is None:
            command = [sys.executable, *program, *place]
        else:
            command = [sys.executable, str(HERE / "faulty_server.py"), str(faults), *serve]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="strict",
        )
        self._log = ServerLog(self.process)
        self.log = self._log.lines
        self.port = 0

    def __enter__(self) -> Running:
        self.until(lambda: bool(self._log.port) or self.process.poll() is not None, _STARTED)
        self.port = self._log.port
        assert self.port, "".join(self.log)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60, trust_env=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            self.process.wait(_ENDED)
        finally:
            self.process.kill()
            self.process.wait()
            self._log.join()

    def until(self, holds: Callable[[], bool], seconds: float = 240.0) -> float:
        """Wait until something holds, fail the test where it does not, and return how long it took."""
        began = time.monotonic()
        while not holds():
            assert time.monotonic() - began < seconds, "".join(self.log[-40:])
            time.sleep(0.02)
        return time.monotonic() - began

    def predict(self, *rows: dict[str, Any], **headers: str) -> dict[str, Any]:
        """Return the answer to rows; anything but 200 fails the test."""
        response = self.http.post("/predict", json={"rows": list(rows)}, headers=headers)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def ready(self) -> dict[str, Any]:
        """Return what readiness says."""
        found: dict[str, Any] = self.http.get("/v2/health/ready").json()
        return found

    def metrics(self, token: str | None = None) -> dict[str, float]:
        """Return every sample by its name and labels, as they are written."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        text = self.http.get("/metrics", headers=headers).text
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def workers(self) -> dict[str, int]:
        """Return the process of each version that has one."""
        found = {}
        for pid in children(self.process.pid):
            # Until a child has its own program, the service waits for it: a child that is stopped then stops both.
            if _command(pid) in (b"", _command(self.process.pid)):
                continue
            for handle in Path(f"/proc/{pid}/fd").glob("*"):
                try:
                    target = str(handle.readlink())
                except OSError:
                    continue
                if target.startswith("/memfd:model_v"):
                    found[target.removeprefix("/memfd:").removesuffix(" (deleted)")] = pid
        return found


@contextmanager
def of_two_versions(folder: Path, **changes: Any) -> Iterator[Running]:
    """Serve two versions from a folder of its own, with other settings where asked for."""
    for seed in (0, 1):
        published_models.publish(folder / "store", seed)
    with Running(published_models.pipeline(folder, **changes), folder / "store") as running:
        yield running


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def children(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    try:
        return [int(found) for found in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def lives(pid: int) -> bool:
    """Say whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def dumps(rows: list[dict[str, Any]]) -> bytes:
    """Return the body of a request."""
    return json.dumps({"rows": rows}).encode()
