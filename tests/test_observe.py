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


def test_an_observer_hears_the_beginning_and_the_end() -> None:
    listening = Listening()
    with instrumentation.stage(_visit(), [listening]) as visit:
        visit.status, visit.message = journal.CACHED, "3 records"
    assert listening.events == [("on_start", "SUCCESS", ""), ("on_end", "CACHED", "3 records")]
    assert visit.seconds > 0


@pytest.mark.parametrize(("error", "message"), [(ValueError("bad row"), "bad row"), (KeyboardInterrupt(), "Keyboard")])
def test_an_exception_ends_the_visit_as_error_and_goes_on(error: BaseException, message: str) -> None:
    listening = Listening()
    with pytest.raises(type(error)) as caught, instrumentation.stage(_visit(), [listening]):
        raise error
    assert caught.value is error
    assert listening.events[-1][:2] == ("on_end", "ERROR")
    assert listening.events[-1][2].startswith(message)


def test_an_observer_that_fails_is_counted_and_the_others_hear_all(caplog: pytest.LogCaptureFixture) -> None:
    listening, before = Listening(), _counted("observer_failures_total", observer="Failing")
    with caplog.at_level(logging.WARNING), instrumentation.stage(_visit(), [Failing(), listening]) as visit:
        visit.message = "worked"
    assert listening.events[-1] == ("on_end", "SUCCESS", "worked")
    assert _counted("observer_failures_total", observer="Failing") == before + 2
    assert "observer Failing failed: unavailable. The stage continues" in caplog.text


def test_an_observer_that_fails_does_not_hide_the_error_of_the_work() -> None:
    with pytest.raises(ValueError, match="bad row"), instrumentation.stage(_visit(), [Failing()]):
        raise ValueError("bad row")


def test_a_full_store_does_not_break_the_work(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file where a folder must be")
    with instrumentation.stage(_visit(), [JournalObserver(journal.Journal(Store(tmp_path)))]) as visit:
        visit.message = "worked"
    assert visit.status == "SUCCESS"


def test_the_work_knows_its_trace_and_stage() -> None:
    with instrumentation.stage(_visit(), []):
        assert (trace_context.current(), trace_context.current_stage()) == (ID, "trainer")
    assert (trace_context.current(), trace_context.current_stage()) == (None, None)


def test_a_visit_is_journaled(tmp_path: Path) -> None:
    book = journal.Journal(Store(tmp_path))
    with instrumentation.stage(_visit(), [JournalObserver(book)]) as visit:
        visit.message, visit.numbers, visit.model_version = "done", {"rows": 7}, "model_v1.0"
    began, ended = book.read(ID)
    assert (began.status, began.seconds, ended.status, ended.message) == ("STARTED", None, "SUCCESS", "done")
    assert (ended.numbers, ended.model_version) == ({"rows": 7}, "model_v1.0")
    assert ended.seconds is not None


def test_a_visit_is_counted_with_its_time_and_rows() -> None:
    labels = {"pipeline": "credit", "stage": "counted"}
    visit = _visit("counted")
    visit.numbers = {"rows": 7}
    with pytest.raises(ValueError, match="bad row"), instrumentation.stage(visit, [MetricsObserver()]):
        raise ValueError("bad row")
    assert _counted("pipeline_stage_total", **labels, status="error") == 1
    assert _counted("pipeline_stage_duration_seconds_count", **labels) == 1
    assert _counted("pipeline_stage_rows", **labels) == 7


def test_a_configured_sdk_gets_a_span_with_the_same_trace(spans: InMemorySpanExporter) -> None:
    with instrumentation.stage(_visit("training"), []), instrumentation.stage(_visit(), []) as visit:
        visit.status = journal.RESUMED
    inner, outer = spans.get_finished_spans()
    assert [f"{span.context.trace_id:032x}" for span in (inner, outer)] == [ID, ID]
    assert inner.parent
    assert outer.context
    assert inner.parent.span_id == outer.context.span_id
    assert inner.name == "trainer"
    assert inner.attributes == {"stage": "trainer", "pipeline": "credit", "status": "RESUMED"}


def test_the_span_of_a_failed_visit_says_so_and_no_secret(spans: InMemorySpanExporter) -> None:
    Secret("otel-passwort")
    with pytest.raises(ValueError, match="otel"), instrumentation.stage(_visit(), []):
        raise ValueError("no login with otel-passwort")
    (span,) = spans.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "no login with ***")
    assert "otel-passwort" not in span.to_json()


@pytest.mark.integration
def test_without_an_sdk_there_is_no_span() -> None:
    assert processes.python(NO_SDK, OTEL_SDK_DISABLED="true") == "False"
