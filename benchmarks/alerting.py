"""How long from a fault to the message in chat, by the project's own rules, beside the bound that theory gives."""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ai_workflow.slo import durations, reader
from ai_workflow.slo.spec import Spec
from ai_workflow.telemetry import journal
from benchmarks.measure import BenchmarkError, machine, spread
from tests.monitoring import accelerated_slos, event_emitters
from tests.monitoring.monitoring_stack import LATEST, STABLE, Stack
from tests.serving import published_models
from tests.serving.running_service import dumps
from tests.serving.traffic import Traffic

ROUNDS, RATE = 3, 20.0
# What the way from Prometheus to chat may take beyond the bound, in seconds.
GOAL = 2.0
# The exporter looks at the store so often.
_LOOK = 1.0
_CHANNEL = "slack"
_PATIENCE = 600.0


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, its alert, and how long its condition takes to hold, in seconds."""

    name: str
    alert: str
    about: str
    crossing: float
    cause: Callable[[Stack], AbstractContextManager[None]]

    def bound(self, spec: Spec) -> float:
        """Return the longest that theory allows: crossing, a scrape, evaluations until `for` is over, the group's wait.

        `for` counts from the evaluation that first sees it to one that is so much later.
        """
        entry = spec.entry(self.alert)
        assert entry is not None
        scrape, evaluation = durations.seconds(spec.scrape), durations.seconds(spec.evaluation)
        held = -(-durations.seconds(entry.for_) // evaluation) * evaluation
        return self.crossing + scrape + evaluation + held + durations.seconds(spec.routes[entry.severity].wait)


def faults(spec: Spec) -> list[Fault]:
    """Return what is caused, one after the other."""
    acute = spec.entry("InferenceAcuteErrors")
    assert acute is not None
    # All fail: the errors' share of the window grows by a second each second.
    crossing = durations.seconds(acute.parameters["window"]) * float(acute.parameters["ratio"])
    return [
        Fault("all requests fail", "InferenceAcuteErrors", LATEST, crossing, _errors),
        Fault("training fails", "TrainingRunFailed", "credit", _LOOK, _training),
        Fault("the service is down", "InferenceTargetDown", "127.0.0.1", 0.0, _down),
    ]


def main(given: Sequence[str] = ()) -> None:
    """Measure, and print the figures with the goals.

    Raises:
        BenchmarkError: a fault never reached chat.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks alerting", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args(given)
    spec = reader.load()
    found: dict[str, list[float]] = {}
    more = {"inference": {"default_response": None}}
    with (
        tempfile.TemporaryDirectory(prefix="alerting-") as name,
        Stack(Path(name), (_CHANNEL,), accelerated_slos.own, **more).running() as stack,
    ):
        for _ in range(options.rounds):
            for fault in faults(spec):
                found.setdefault(fault.name, []).append(_seconds(stack, fault, durations.seconds(spec.scrape)))
    print(f"{machine()}; scraped and evaluated every {spec.scrape}, {options.rounds} rounds\n")
    print(f"{'fault':<22}{'alert':<24}{'bound s':>8}{'least':>8}{'median':>8}{'most':>8}")
    for fault in faults(spec):
        least, median, most = spread(found[fault.name])
        bound = fault.bound(spec)
        said = "met" if most <= bound + GOAL else "missed"
        print(f"{fault.name:<22}{fault.alert:<24}{bound:8.1f}{least:8.1f}{median:8.1f}{most:8.1f}   {said}")
    print(f"\ngoal: at most {GOAL:g} s beyond the bound")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def _seconds(stack: Stack, fault: Fault, scrape: float) -> float:
    """Cause a fault, return how long its message took, and wait until it is over."""
    with Traffic(stack.service.port, dumps([published_models.ROW]), rate=RATE):
        stack.prometheus.until("sum(rate(inference_requests_total[1m])) > 15", _PATIENCE)
        # At any time between two scrapes.
        time.sleep(random.uniform(0, scrape))
        began = len(stack.blocks())
        with fault.cause(stack):
            start = time.monotonic()
            try:
                stack.until(lambda: stack.firing(fault.alert, fault.about, began), fault.alert, _PATIENCE)
            except AssertionError as error:
                raise BenchmarkError(f"{fault.name}: {error}") from error
            took = time.monotonic() - start
        stack.until(lambda: stack.resolved(fault.alert, fault.about, began), f"the end of {fault.alert}", _PATIENCE)
        return took


@contextmanager
def _errors(stack: Stack) -> Iterator[None]:
    for version in (LATEST, STABLE):
        (stack.faults / version).write_text("raise")
    yield
    for version in (LATEST, STABLE):
        (stack.faults / version).unlink()


@contextmanager
def _training(stack: Stack) -> Iterator[None]:
    event_emitters.run_once(stack.store, "credit", "training", "trainer", journal.ERROR)
    yield
    event_emitters.run_once(stack.store, "credit", "training", "trainer")


@contextmanager
def _down(stack: Stack) -> Iterator[None]:
    stack.service.process.kill()
    yield
    stack.start_service()
