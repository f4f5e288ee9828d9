"""All of monitoring at work around a real service: what goes wrong there reaches chat, as in production, but sooner."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from ai_workflow.slo import build, reader
from ai_workflow.storage.store import Store
from tests import services
from tests.monitoring import accelerated_slos, live_prometheus
from tests.monitoring.exporter.exporter_stores import Exporting
from tests.monitoring.relay import fake_vendors
from tests.monitoring.relay.fake_vendors import Vendors
from tests.monitoring.relay.running_relay import LIVELY, TOKEN, RunningRelay
from tests.patience import PATIENCE
from tests.serving import published_models
from tests.serving.running_service import Running

JOBS = ("inference", "exporter", "relay", "alertmanager", "prometheus")
FIRING, RESOLVED = ("🔴", "🟠", "🔵"), "🟢"
LATEST, STABLE = "model_v1.1", "model_v1.0"
DISK = 32 << 20
Promises = Callable[[Mapping[str, int], Mapping[str, str], Sequence[str]], dict[str, Any]]


class Stack:
    """A service with two versions, exporter, Prometheus, Alertmanager, relay and chat vendors, as real processes.

    Args:
        folder: an empty one.
        channels: the vendors that are told.
        promises: what makes of targets, places and channels the promises that are watched.
        expected: how often runs are expected, in hours by pipeline/flow.
        more: settings of the pipeline that is served, besides.
    """

    def __init__(
        self, folder: Path, channels: tuple[str, ...], promises: Promises = accelerated_slos.quick,
        expected: Mapping[str, float] = {}, **more: Any,
    ) -> None:  # fmt: skip
        self.folder, self._channels, self._promises, self._more = folder, channels, promises, more
        self._expected = dict(expected)
        self.ports = {job: services.free_port() for job in JOBS}
        self.faults = folder / "faults"
        self.faults.mkdir()

    @contextmanager
    def running(self) -> Iterator[Stack]:
        """Start everything, and end it."""
        with ExitStack() as stack:
            self.disk, self.few_bytes = stack.enter_context(_disk())
            self.root = self.disk / "store"
            self.store = Store(self.root)
            for seed in (0, 1):
                published_models.publish(self.root, seed)
            generated = self._generate()
            self.vendors: Vendors = stack.enter_context(fake_vendors.running(self.folder))
            chat = [self.vendors.channel(kind, **LIVELY) for kind in self._channels]
            self.relay = stack.enter_context(RunningRelay(self.folder, chat, {"port": self.ports["relay"]}))
            alerting = yaml.safe_load((generated / "alertmanager" / "alertmanager.yml").read_text())
            stack.enter_context(live_prometheus.alertmanager(self.folder / "am", alerting, self.ports["alertmanager"]))
            self._own = stack.enter_context(ExitStack())
            self.start_service()
            self.start_exporter()
            scraping = yaml.safe_load((generated / "prometheus" / "prometheus.yml").read_text())
            self.prometheus = stack.enter_context(
                live_prometheus.prometheus(generated / "prometheus", scraping, self.ports["prometheus"])
            )
            for job in JOBS:
                self.prometheus.until(f'up{{job="{job}"}} == 1')
            self.began = time.monotonic()
            yield self

    def _generate(self) -> Path:
        token = self.folder / "token"
        token.write_text(TOKEN)
        places = {
            "relay": f"http://127.0.0.1:{self.ports['relay']}/alertmanager", "relay_token_file": str(token),
            "prometheus": f"http://127.0.0.1:{self.ports['prometheus']}",
        }  # fmt: skip
        promises = self.folder / "slo.yaml"
        found = self._promises(self.ports, places, self._channels)
        disk = next(slo for slo in found["slos"] if slo["name"] == "disk")
        disk["alerts"]["ModelStoreDiskLow"]["bytes"] = self.few_bytes
        promises.write_text(yaml.safe_dump(found, sort_keys=False))
        build.write(build.files(reader.load(promises)), self.folder / "generated")
        return self.folder / "generated"

    def start_service(self) -> None:
        """Start the service, where it was."""
        log = {"enabled": True, "segment_seconds": 1}
        settings = {"service": {"port": self.ports["inference"], "prediction_log": log}, **self._more}
        pipeline = published_models.pipeline(self.folder, **settings)
        self.service = self._own.enter_context(Running(pipeline, self.root, self.faults))

    def start_exporter(self) -> None:
        """Start the exporter, where it was."""
        expected = self.folder / "exporter.yaml"
        expected.write_text(yaml.safe_dump({"monitoring": {"expected_hours": self._expected}}))
        exporting = Exporting(self.root, self.ports["exporter"], AIW_CONFIG=str(expected))
        self.exporter = self._own.enter_context(exporting)

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Have the disk nearly full as long as the context lasts."""
        ballast = self.disk / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, _free(self.disk) - self.few_bytes + min(self.few_bytes >> 2, 1 << 28))
        try:
            yield
        finally:
            ballast.unlink()

    def blocks(self, channel: str | None = None) -> list[str]:
        """Return what a channel was told of each alert, one text each; of the first channel, if none is named."""
        name = channel or self._channels[0]
        return [block for message in list(self.vendors.texts(name)) for block in told_of_alerts(message)]

    def firing(self, alert: str, about: str, since: int = 0, channel: str | None = None) -> list[str]:
        """Return what was told of an alert that fires, and is about this, after so many blocks."""
        return [block for block in self._told(alert, about, since, channel) if not _is_over(block)]

    def resolved(self, alert: str, about: str, since: int = 0, channel: str | None = None) -> list[str]:
        """Return what was told of an alert that is over, and was about this, after so many blocks."""
        return [block for block in self._told(alert, about, since, channel) if _is_over(block)]

    def failed(self, pipeline: str, channel: str | None = None) -> list[str]:
        """Return what was told of a pipeline's training that failed."""
        return self.firing("TrainingRunFailed", pipeline, channel=channel)

    def _told(self, alert: str, about: str, since: int, channel: str | None) -> list[str]:
        return [block for block in self.blocks(channel)[since:] if alert in block and about in block]

    def until(self, holds: Callable[[], Any], what: str, seconds: float = PATIENCE) -> None:
        """Wait until something holds; else say what chat was told, and what fires."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                alerts = [each["metric"] for each in self.prometheus.ask('ALERTS{alertname!="Watchdog"}')]
                told = "\n".join(self.blocks())
                raise AssertionError(f"{what} never came; there was:\n{told}\nalerts: {alerts}")
            time.sleep(0.1)


def told_of_alerts(message: str) -> list[str]:
    """Return the text of each alert in a message: from its heading, which is bold, to the next one.

    The title, which may be there twice, names an alert as well; it is the first line or a Markdown heading.
    """
    found: list[str] = []
    for line in message.splitlines()[1:]:
        if line.lstrip("*").startswith((*FIRING, RESOLVED)) and line.startswith("*"):
            found.append("")
        if found:
            found[-1] += line + "\n"
    return found


def _is_over(block: str) -> bool:
    return block.lstrip("*# ").startswith(RESOLVED)


@contextmanager
def _disk() -> Iterator[tuple[Path, int]]:
    """A small disk in memory, or a folder where this user may not mount one; and how many bytes free are few there."""
    with tempfile.TemporaryDirectory(prefix="disk-") as name:
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", name]
        is_own = subprocess.run(command, capture_output=True, check=False).returncode == 0
        try:
            # Of a disk that others write to, too, they do not take so much meanwhile.
            yield Path(name), DISK >> 3 if is_own else _free(Path(name)) - (1 << 30)
        finally:
            if is_own:
                subprocess.run(["umount", "--lazy", name], check=True)


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
