"""`make up` for tests: a stack in a folder of its own, on free ports, and surely ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx
import yaml

from ai_workflow.local import login
from ai_workflow.local.stack import processes
from ai_workflow.local.stack.paths import StackOptions, StackPaths
from ai_workflow.local.stack.services import POSTGRESQL, SERVICES
from tests import migrated_database, services
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


class RunningStack:
    """A folder with a stack; `site` is laid over its configuration."""

    def __init__(self, folder: Path, site: dict[str, object], **given: str) -> None:
        self.folder = folder
        self.place = StackPaths(folder / "var")
        self.options = StackOptions(offset=_offset())
        self._given = given
        (folder / "site.yaml").write_text(yaml.safe_dump(site))

    @property
    def environment(self) -> dict[str, str]:
        """The environment of who starts it."""
        ours = {
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "AIW_STORE": str(self.place.var),
            "AIW_CONFIG": str(self.folder / "site.yaml"), "PREFECT_WORKER_QUERY_SECONDS": "1",
            # How soon one looks again that another of its deployment has kept waiting.
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1", **self._given,
        }  # fmt: skip
        return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | ours

    @property
    def client(self) -> dict[str, str]:
        """The environment of who asks its Prefect server."""
        login = self._given.get("PREFECT_LOGIN")
        return {
            **self.environment,
            "PREFECT_API_URL": f"{self.url('server')}/api",
            "PREFECT_HOME": str(self.folder / "home"),
            **({"PREFECT_API_AUTH_STRING": login} if login else {}),
        }

    def command(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `ai-workflow` to its end."""
        return self._run("ai_workflow", *arguments, environment=self.environment | more)

    def up(self, *arguments: str) -> str:
        """Start it, and return what is said."""
        if "--database" not in arguments:
            migrated_database.seed(self.place.var / "prefect")
        done = self.command("up", "--offset", str(self.options.offset), *arguments)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def down(self) -> str:
        """End it, and return what is said."""
        done = self.command("down")
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def prefect(self, *arguments: str) -> str:
        """Run Prefect's command line against its server, and return what it says."""
        done = self._run("prefect", *arguments, environment=self.client)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def pids(self) -> dict[str, int]:
        """Return the process of each service that runs, as `make status` says."""
        lines = self.command("status").stdout.splitlines()
        titles = {service.title: service.name for service in (POSTGRESQL, *SERVICES)}
        parts = [(line.strip().partition("  ")[0], line.partition(", pid ")[2].partition(",")[0]) for line in lines]
        return {titles[title]: int(pid) for title, pid in parts if pid}

    def url(self, name: str) -> str:
        """Return the address of a service."""
        return f"http://{services.LOOPBACK}:{self.options.port(self.options.named(name))}"

    @property
    def login(self) -> tuple[str, str]:
        """User and password of Prometheus and Alertmanager."""
        return login.USER, self.place.password()

    def serving(self) -> dict[str, object]:
        """Return what the inference service says of itself."""
        found: dict[str, object] = httpx.get(
            f"{self.url('service')}/v2/health/ready", trust_env=False, timeout=60
        ).json()
        return found

    def _run(self, module: str, *arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments], cwd=self.folder, env=environment, timeout=400,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip


@contextmanager
def in_folder(folder: Path, site: dict[str, object] | None = None, **given: str) -> Iterator[RunningStack]:
    """Give a stack that is not started yet; whatever a test has started of it is ended."""
    found = RunningStack(folder, site or {}, **given)
    try:
        yield found
    finally:
        found.command("down")
        processes.stop_all(found.place.folder, 0)


def until(look: Callable[[], T], is_there: Callable[[T], bool] = bool) -> T:
    """Look until it is there, and return it; what does not come for a minute and a half fails the test."""
    deadline = time.monotonic() + PATIENCE
    while not is_there(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def _offset() -> int:
    """Return a number by which all ports are free."""
    while True:
        offset = services.free_port() - 4200
        ports = [service.port + offset for service in (POSTGRESQL, *SERVICES) if service.port]
        if max(ports) < 32768 and all(services.is_free(port) for port in ports):
            return offset
