"""A real Prometheus and a real Alertmanager for tests: processes on free ports, surely stopped."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests import services
from tests.monitoring.paths import GENERATED
from tests.patience import PATIENCE

_STARTED = 60.0


@dataclass(frozen=True)
class Web:
    """A login that one of them requires: the file for `--web.config.file`, and what it accepts."""

    file: Path
    login: tuple[str, str]


class Prometheus:
    """A Prometheus that answers; `url` is its address."""

    def __init__(self, url: str, login: tuple[str, str] | None = None) -> None:
        self.url = url
        self._http = httpx.Client(base_url=f"{url}/api/v1/", timeout=60, trust_env=False, auth=login)

    def get(self, path: str, **parameters: Any) -> Any:
        """Return the data of an answer of its API; what it refuses fails the test in its own words."""
        found = self._http.get(path, params=parameters).json()
        assert found["status"] == "success", f"{parameters or path}: {found['error']}"
        return found["data"]

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Return the series that a query finds now."""
        found: list[dict[str, Any]] = self.get("query", query=query)["result"]
        return found

    def until(self, query: str, seconds: float = PATIENCE) -> list[dict[str, Any]]:
        """Ask until something is found, and return it; fail the test where nothing is."""
        deadline = time.monotonic() + seconds
        while not (found := self.ask(query)):
            assert time.monotonic() < deadline, f"{query} finds nothing"
            time.sleep(0.1)
        return found

    def close(self) -> None:
        """Hang up."""
        self._http.close()


def scraping(
    targets: Mapping[str, int], every: str = "1s", alertmanager: int | None = None, rules: Path | None = None
) -> dict[str, Any]:
    """Return the generated `prometheus.yml` for these ports by job, as quick as a test is.

    It evaluates rules where an Alertmanager is given, and none where not: the generated ones, or those of a folder.
    """
    found: dict[str, Any] = yaml.safe_load((GENERATED / "prometheus" / "prometheus.yml").read_text())
    found["global"] = {"scrape_interval": every, "evaluation_interval": every}
    found["scrape_configs"] = [
        {**job, "static_configs": [{"targets": [f"{services.LOOPBACK}:{targets[job['job_name']]}"]}]}
        for job in found["scrape_configs"]
        if job["job_name"] in targets
    ]
    assert {job["job_name"] for job in found["scrape_configs"]} == targets.keys(), "no such job is generated"
    if alertmanager is None:
        del found["alerting"], found["rule_files"]
        return found
    where = [{"targets": [f"{services.LOOPBACK}:{alertmanager}"]}]
    found["alerting"] = {"alertmanagers": [{"static_configs": where}]}
    found["rule_files"] = [str((rules or GENERATED / "prometheus" / "rules") / "*.yaml")]
    return found


@contextmanager
def prometheus(
    folder: Path, config: Mapping[str, Any], port: int | None = None, web: Web | None = None
) -> Iterator[Prometheus]:
    """Start a Prometheus by `prometheus.yml`; skips the test where there is none.

    Args:
        folder: for its configuration, its log, and its blocks in `data`, which may be there already.
        config: what `prometheus.yml` says.
        port: where it listens, if it has to be known before.
        web: the login that it requires.
    """
    if shutil.which("prometheus") is None:
        pytest.skip("no Prometheus: apt-get install prometheus")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(dict(config)))
    command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"]
    with _listening(command, folder, port or services.free_port(), web) as url:
        found = Prometheus(url, web and web.login)
        try:
            yield found
        finally:
            found.close()


@contextmanager
def alertmanager(
    folder: Path, config: Mapping[str, Any], port: int | None = None, web: Web | None = None
) -> Iterator[str]:
    """Start an Alertmanager by `alertmanager.yml`, and give its address; skips the test where there is none."""
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        pytest.skip("no Alertmanager: apt-get install prometheus-alertmanager")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(dict(config)))
    command = [program, "--config.file=alertmanager.yml", "--storage.path=data", "--cluster.listen-address="]
    with _listening(command, folder, port or services.free_port(), web) as url:
        yield url


@contextmanager
def _listening(command: list[str], folder: Path, port: int, web: Web | None = None) -> Iterator[str]:
    """Run one of them from a folder until the context ends, and give its address as soon as it is ready."""
    address = f"{services.LOOPBACK}:{port}"
    log = folder / "log"
    with log.open("wb") as told:
        process = subprocess.Popen(
            [*command, f"--web.listen-address={address}", *([f"--web.config.file={web.file}"] if web else [])],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=told, stderr=told,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + _STARTED
        while not _is_ready(address, web and web.login):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()  # noqa: PT018
            time.sleep(0.05)
        yield f"http://{address}"
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()
            process.wait()


def _is_ready(address: str, login: tuple[str, str] | None) -> bool:
    try:
        return httpx.get(f"http://{address}/-/ready", auth=login, trust_env=False, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
