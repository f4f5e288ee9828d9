"""How asking one version ended, as metrics: each attempt counts, whoever answered the request in the end."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from ai_workflow import metrics
from ai_workflow.serving.breaker import State


class Outcome(StrEnum):
    """Why a version gave no answer."""

    TIMEOUT = "timeout"
    ERROR = "error"
    CRASHED = "crashed"
    HUNG = "hung"
    BAD_OUTPUT = "bad_output"
    BUSY = "busy"
    UNFIT = "unfit"
    RETIRED = "retired"


class Attempts:
    """The metrics of one version's attempts."""

    def __init__(self, version: str) -> None:
        self._version = version
        total = metrics.get("inference_attempts_total")
        self._success = total.labels(version, "success")
        self._outcomes: dict[Outcome, Any] = {outcome: total.labels(version, outcome.value) for outcome in Outcome}
        self._refused = {
            outcome: metrics.get("inference_refused_total").labels(version, outcome.value) for outcome in Outcome
        }
        self._state = metrics.get("model_breaker_state").labels(version)
        self._restarts = metrics.get("model_worker_restarts_total")
        self.breaker(State.CLOSED)

    def succeeded(self) -> None:
        """Count an answer."""
        self._success.inc()

    def failed(self, outcome: Outcome) -> None:
        """Count a version that was asked, and gave no answer."""
        self._outcomes[outcome].inc()

    def refused(self, outcome: Outcome) -> Outcome:
        """Count a version that was not asked, as it would not have answered; return why."""
        self._refused[outcome].inc()
        return outcome

    def lost(self, outcome: Outcome) -> None:
        """Count a process that ended, or was killed."""
        if outcome is not Outcome.RETIRED:
            self._restarts.labels(self._version, outcome.value).inc()

    def breaker(self, state: State) -> None:
        """Show the breaker's state."""
        self._state.set(state)

    def forget(self) -> None:
        """Remove what is shown of the version, which is served no more: or old ones would be shown for ever."""
        for name, labels in (
            ("inference_attempts_total", ("success", *Outcome)),
            ("inference_refused_total", tuple(Outcome)),
            ("model_worker_restarts_total", tuple(Outcome)),
            ("model_breaker_state", (None,)),
        ):
            for label in labels:
                metrics.forget(name, self._version, *([label] if label else []))
