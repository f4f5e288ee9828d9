"""Each fault reaches chat: named rightly, once, and said to be over when it is. All is real, but for the vendors.

Durations are a sixtieth of the project's own (`quick_promises`); the way from metric to message is the same.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from ai_workflow.telemetry import journal
from tests.monitoring import event_emitters
from tests.monitoring.monitoring_stack import LATEST, STABLE, Stack
from tests.serving import published_models
from tests.serving.running_service import dumps
from tests.serving.traffic import Traffic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CHANNELS = ("slack", "wecom")
DOWN_SECONDS = 120


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One for all tests: a fault that is over leaves nothing behind that the next one would not have to bear."""
    folder = tmp_path_factory.mktemp("stack")
    more = {"inference": {"deadline_ms": 1000, "default_response": None}}
    expected = {"due/scoring": 6 / 3600}
    with Stack(folder, (*CHANNELS, "dingtalk"), expected=expected, **more).running() as found:
        found.vendors.faults["dingtalk"] = "drop"
        event_emitters.run_once(found.store, "outage", "training", "trainer", journal.ERROR)
        found.until(lambda: found.failed("outage"), "what the other channels are told")
        yield found


def reaches_chat(stack: Stack, fault: AbstractContextManager[Any], alert: str, *names: str) -> None:
    """Expect that a fault is told once by an alert with these names, and once that it is over when it is.

    The first name is said of both.
    """
    began = len(stack.blocks())
    with fault:
        stack.until(lambda: stack.firing(alert, names[0], began), f"the message of {alert}")
    stack.until(lambda: stack.resolved(alert, names[0], began), f"the end of {alert}")
    (fired,), (ended,) = stack.firing(alert, names[0], began), stack.resolved(alert, names[0], began)
    for name in names:
        assert name in fired
    assert "resolved after" in ended


@contextmanager
def asked(stack: Stack, rate: float = 20) -> Iterator[Traffic]:
    """Ask the service as long as the context lasts."""
    with Traffic(stack.service.port, dumps([published_models.ROW]), rate=rate) as traffic:
        yield traffic


@contextmanager
def failing(stack: Stack, kind: str, *versions: str) -> Iterator[None]:
    """Let versions fail as long as the context lasts."""
    for version in versions:
        (stack.faults / version).write_text(kind)
    try:
        yield
    finally:
        for version in versions:
            (stack.faults / version).unlink()


def test_hung_latest_version_alerts_in_chat(stack: Stack) -> None:
    with asked(stack):
        reaches_chat(stack, failing(stack, "hang", LATEST), "InferenceFallbackRatioHigh", LATEST, "trace ")


def test_failing_requests_alert_in_chat(stack: Stack) -> None:
    with asked(stack):
        fault = failing(stack, "raise", LATEST, STABLE)
        reaches_chat(stack, fault, "InferenceAcuteErrors", LATEST, "availability", "trace ")


def test_latency_above_objective_alerts_in_chat(stack: Stack) -> None:
    with asked(stack, rate=3):
        fault = failing(stack, "slow", LATEST, STABLE)
        reaches_chat(stack, fault, "SLOErrorBudgetBurn (page_fast)", LATEST, "latency", "trace ")


@pytest.mark.soak
def test_stopped_traffic_alerts_in_chat(stack: Stack) -> None:
    with asked(stack):
        stack.prometheus.until("sum(rate(inference_total[5s] offset 20s)) > 10")
    began = len(stack.blocks())
    stack.until(lambda: stack.firing("InferenceThroughputFloor", "", began), "the floor")
    with asked(stack):
        stack.until(lambda: stack.resolved("InferenceThroughputFloor", "", began), "the end of it")
    assert len(stack.firing("InferenceThroughputFloor", "", began)) == 1


def test_failed_training_stage_alerts_in_chat(stack: Stack) -> None:
    @contextmanager
    def fault() -> Iterator[None]:
        traces.append(event_emitters.run_once(stack.store, "credit", "training", "trainer", journal.ERROR).trace_id)
        yield
        event_emitters.run_once(stack.store, "credit", "training", "trainer")

    traces: list[str] = []
    began = len(stack.blocks())
    reaches_chat(stack, fault(), "TrainingRunFailed", "credit", "trainer")
    assert f"trace {traces[0][:8]}" in stack.firing("TrainingRunFailed", "credit", began)[0]


@pytest.mark.soak
def test_stale_checkpoint_alerts_in_chat(stack: Stack) -> None:
    @contextmanager
    def fault() -> Iterator[None]:
        run = event_emitters.Run(stack.store, "churn", "training")
        run.say("trainer", journal.STARTED)
        yield
        run.say("trainer", journal.SUCCESS)
        run.end()

    reaches_chat(stack, fault(), "CheckpointStale", "churn", "trainer", "trace ")


def test_unavailable_service_alerts_in_chat(stack: Stack) -> None:
    @contextmanager
    def fault() -> Iterator[None]:
        stack.service.process.kill()
        yield
        stack.start_service()

    reaches_chat(stack, fault(), "InferenceTargetDown", str(stack.ports["inference"]))


@pytest.mark.soak
def test_low_disk_space_alerts_in_chat(stack: Stack) -> None:
    reaches_chat(stack, stack.full_disk(), "ModelStoreDiskLow", "disk", "free space")


def test_vendor_error_in_http_200_body_alerts_in_chat(stack: Stack) -> None:
    @contextmanager
    def fault() -> Iterator[None]:
        stack.vendors.faults["wecom"] = "refuse"
        event_emitters.run_once(stack.store, "letter", "training", "trainer", journal.ERROR)
        yield
        stack.vendors.faults.pop("wecom")

    reaches_chat(stack, fault(), "AlertDeliveryFailing", "wecom")
    for channel in CHANNELS:
        stack.until(partial(stack.failed, "letter", channel), f"what {channel} was to be told")
        assert len(stack.failed("letter", channel)) == 1


def test_vendor_outage_delays_no_other_and_messages_arrive_once(stack: Stack) -> None:
    """The third one has been down since the first test."""
    assert len(stack.failed("outage")) == 1
    stack.until(lambda: time.monotonic() - stack.began > DOWN_SECONDS, "the end of two minutes", 2 * DOWN_SECONDS)
    assert stack.vendors.texts("dingtalk") == []
    stack.vendors.faults.pop("dingtalk")
    stack.until(lambda: stack.failed("outage", "dingtalk"), "what dingtalk was to be told")
    stack.until(lambda: stack.resolved("AlertDeliveryFailing", "dingtalk"), "the end of its failure")
    assert len(stack.failed("outage", "dingtalk")) == 1
    assert len(stack.failed("outage")) == 1


def test_stalled_pipeline_alerts_in_chat(stack: Stack) -> None:
    @contextmanager
    def fault() -> Iterator[None]:
        event_emitters.run_once(stack.store, "due", "scoring", "inference")
        yield
        event_emitters.run_once(stack.store, "due", "scoring", "inference")

    reaches_chat(stack, fault(), "PipelineStalled", "due", "scoring", "trace ")


def test_low_accuracy_from_labels_alerts_in_chat(stack: Stack) -> None:
    @contextmanager
    def fault() -> Iterator[None]:
        callers.label(right=False)
        yield
        callers.label(right=True)

    callers = event_emitters.Callers(stack.service, stack.store)
    reaches_chat(stack, fault(), "ModelAccuracyBelowFloor", LATEST, "accuracy", "trace ")


@pytest.mark.soak
def test_missing_labels_alert_in_chat_and_resolve(stack: Stack) -> None:
    def pauses(told: Callable[[str, str], list[str]]) -> list[str]:
        return [start for start in map(_start, told("ModelLabelsStale", published_models.PIPELINE)) if start >= stopped]

    def labels_come() -> bool:
        callers.label(right=True)
        return bool(pauses(stack.resolved))

    callers = event_emitters.Callers(stack.service, stack.store)
    callers.label(right=True)
    # That labels paused in an earlier test may be told as late as now.
    stopped = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    stack.until(lambda: pauses(stack.firing), "the message of ModelLabelsStale")
    stack.until(labels_come, "the end of ModelLabelsStale")
    fired, ended = pauses(stack.firing), pauses(stack.resolved)
    assert ended[0] == fired[0]
    for told in (fired, ended):
        assert len(set(told)) == len(told), "told twice"


def _start(block: str) -> str:
    """Return since when it is, or was, by what was told of it."""
    found = re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", block)
    assert found, block
    return found[0]


def test_unavailable_exporter_alerts_in_chat(stack: Stack) -> None:
    @contextmanager
    def fault() -> Iterator[None]:
        stack.exporter.process.kill()
        yield
        stack.start_exporter()

    reaches_chat(stack, fault(), "MonitoringTargetDown", "exporter")
