"""Real processes that run flows: a worker of a process pool, or a direct run; killed or surely stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate

from tests.flows.workspace import Workplace

ROOT = Path(__file__).parents[2]
POOL = "recovery-tests"


def deploy(client: SyncPrefectClient, flow: str, parameters: dict[str, Any]) -> UUID:
    """Deploy a flow of this project to a process pool, without asking the CLI, which takes seconds."""
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template), overwrite=True)
    return client.create_deployment(
        client.create_flow_from_name(flow), flow, work_pool_name=POOL, entrypoint=f"flows/{flow}.py:{flow}",
        parameters=parameters, parameter_openapi_schema={"type": "object", "properties": {}},
        enforce_parameter_schema=False,
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}],
    )  # fmt: skip


class Worker:
    """A process, and all that descend from it."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log
        self.pid = process.pid

    @classmethod
    def of(cls, place: Workplace, *arguments: str, **env: str) -> Worker:
        """Start a Python process in a place."""
        log = place.folder / f"process-{len(list(place.folder.glob('process-*')))}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments], cwd=place.folder, env=place.environment(**env),
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                # Where SIGINT is ignored, as in a background job of a shell, a worker does not stop on SIGTERM.
                preexec_fn=_default_signals,  # noqa: PLW1509
            )  # fmt: skip
        return cls(process, log)

    @classmethod
    @contextlib.contextmanager
    def start(cls, place: Workplace) -> Iterator[Worker]:
        """Start a worker of the pool; it is killed with its children at the end, if it still lives."""
        asked = ("worker", "start", "--pool", POOL, "--type", "process")
        worker = cls.of(place, "-m", "prefect", *asked, PREFECT_WORKER_QUERY_SECONDS="1")
        try:
            yield worker
        finally:
            worker.kill()

    def kill(self) -> None:
        """Kill the process and its descendants as a power cut would: all at once."""
        family = [self.pid, *_descendants(self.pid)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        family = [*{*family, *_descendants(self.pid)}]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(60)
        # A process that has not ended yet holds its locks.
        deadline = time.monotonic() + 60
        while any(_has_files(pid) for pid in family):
            assert time.monotonic() < deadline, f"a killed process of {family} does not end"
            time.sleep(0.01)

    def stop(self, seconds: float = 30) -> None:
        """Stop it as systemd does: SIGTERM to every process of it; what is left after a while is killed."""
        for pid in [self.pid, *_descendants(self.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.kill()

    def children(self) -> list[int]:
        """Return the ids of the processes that descend from it."""
        return _descendants(self.pid)

    def is_alive(self) -> bool:
        """Say whether it still runs."""
        return self._process.poll() is None

    def wait(self) -> int:
        """Wait for its end, and return its exit code."""
        return self._process.wait(60)

    def output(self) -> str:
        """Return what it printed."""
        return self._log.read_text()


def _has_files(pid: int) -> bool:
    """Return whether a process may have open files; one that is only waited for has none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _descendants(pid: int) -> list[int]:
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                found += [child, *_descendants(child)]
    return found


def _default_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
