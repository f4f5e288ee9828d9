"""What the seam promises: every visit is told to every observer, and no observer can break the work."""

from __future__ import annotations

import logging
from pathlib import Path

import prometheus_client
import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from ai_workflow.secret_values import Secret
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import instrumentation, journal, trace_context
from ai_workflow.telemetry.instrumentation import JournalObserver, MetricsObserver, StageExecution
from tests import processes

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
NO_SDK = """
    from ai_workflow.telemetry import instrumentation as observe
    with observe.stage(observe.StageExecution("4bf92f3577b34da6a3ce929d0e0e4736", "p", "training", "trainer"), []):
        from opentelemetry import trace
        print(trace.get_current_span().is_recording())
"""


class Listening:
    name = "Listening"

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def on_start(self, visit: StageExecution) -> None:
        self.events.append(("on_start", visit.status, visit.message))

    def on_end(self, visit: StageExecution) -> None:
        self.events.append(("on_end", visit.status, visit.message))


class Failing:
    name = "Failing"

    def on_start(self, visit: StageExecution) -> None:
        raise OSError("unavailable")

    on_end = on_start


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """The spans that a configured SDK exports."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(otel, "get_tracer", provider.get_tracer)
    return exporter


def _visit(stage: str = "trainer") -> StageExecution:
    return StageExecution(ID, "credit", "training", stage)


def _counted(name: str, **labels: str) -> float:
    return prometheus_client.REGISTRY.get_sample_value(name, labels) or 0.0


def test_observer_receives_start_and_end() -> None:
    listening = Listening()
    with instrumentation.stage(_visit(), [listening]) as visit:
        visit.status, visit.message = journal.CACHED, "3 records"
    assert listening.events == [("on_start", "SUCCESS", ""), ("on_end", "CACHED", "3 records")]
    assert visit.seconds > 0


@pytest.mark.parametrize(("error", "message"), [(ValueError("bad row"), "bad row"), (KeyboardInterrupt(), "Keyboard")])
def test_exception_ends_stage_as_error_and_propagates(error: BaseException, message: str) -> None:
    listening = Listening()
    with pytest.raises(type(error)) as caught, instrumentation.stage(_visit(), [listening]):
        raise error
    assert caught.value is error
    assert listening.events[-1][:2] == ("on_end", "ERROR")
    assert listening.events[-1][2].startswith(message)


def test_failing_observer_is_counted_and_others_still_notified(caplog: pytest.LogCaptureFixture) -> None:
    listening, before = Listening(), _counted("observer_failures_total", observer="Failing")
    with caplog.at_level(logging.WARNING), instrumentation.stage(_visit(), [Failing(), listening]) as visit:
        visit.message = "worked"
    assert listening.events[-1] == ("on_end", "SUCCESS", "worked")
    assert _counted("observer_failures_total", observer="Failing") == before + 2
    assert "observer Failing failed: unavailable. The stage continues" in caplog.text


def test_failing_observer_does_not_hide_stage_error() -> None:
    with pytest.raises(ValueError, match="bad row"), instrumentation.stage(_visit(), [Failing()]):
        raise ValueError("bad row")


def test_unwritable_journal_does_not_fail_stage(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file where a folder must be")
    with instrumentation.stage(_visit(), [JournalObserver(journal.Journal(Store(tmp_path)))]) as visit:
        visit.message = "worked"
    assert visit.status == "SUCCESS"


def test_stage_binds_trace_id_and_stage_name() -> None:
    with instrumentation.stage(_visit(), []):
        assert (trace_context.current(), trace_context.current_stage()) == (ID, "trainer")
    assert (trace_context.current(), trace_context.current_stage()) == (None, None)


def test_stage_execution_is_journaled(tmp_path: Path) -> None:
    book = journal.Journal(Store(tmp_path))
    with instrumentation.stage(_visit(), [JournalObserver(book)]) as visit:
        visit.message, visit.numbers, visit.model_version = "done", {"rows": 7}, "model_v1.0"
    began, ended = book.read(ID)
    assert (began.status, began.seconds, ended.status, ended.message) == ("STARTED", None, "SUCCESS", "done")
    assert (ended.numbers, ended.model_version) == ({"rows": 7}, "model_v1.0")
    assert ended.seconds is not None


def test_stage_execution_is_counted_with_duration_and_rows() -> None:
    labels = {"pipeline": "credit", "stage": "counted"}
    visit = _visit("counted")
    visit.numbers = {"rows": 7}
    with pytest.raises(ValueError, match="bad row"), instrumentation.stage(visit, [MetricsObserver()]):
        raise ValueError("bad row")
    assert _counted("pipeline_stage_total", **labels, status="error") == 1
    assert _counted("pipeline_stage_duration_seconds_count", **labels) == 1
    assert _counted("pipeline_stage_rows", **labels) == 7


def test_otel_sdk_receives_span_with_same_trace_id(spans: InMemorySpanExporter) -> None:
    with instrumentation.stage(_visit("training"), []), instrumentation.stage(_visit(), []) as visit:
        visit.status = journal.RESUMED
    inner, outer = spans.get_finished_spans()
    assert [f"{span.context.trace_id:032x}" for span in (inner, outer)] == [ID, ID]
    assert inner.parent
    assert outer.context
    assert inner.parent.span_id == outer.context.span_id
    assert inner.name == "trainer"
    assert inner.attributes == {"stage": "trainer", "pipeline": "credit", "status": "RESUMED"}


def test_failed_stage_span_has_error_status_and_masked_secret(spans: InMemorySpanExporter) -> None:
    Secret("otel-passwort")
    with pytest.raises(ValueError, match="otel"), instrumentation.stage(_visit(), []):
        raise ValueError("no login with otel-passwort")
    (span,) = spans.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "no login with ***")
    assert "otel-passwort" not in span.to_json()


@pytest.mark.integration
def test_no_span_without_otel_sdk() -> None:
    assert processes.python(NO_SDK, OTEL_SDK_DISABLED="true") == "False"
