"""All checks, at the same time and each with a time limit; a check that fails is a finding itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ai_workflow.doctor import (
    configuration,
    disks,
    limits,
    models,
    prefect_server,
    relay,
    runs,
    service,
    store,
    versions,
    workers,
)
from ai_workflow.doctor.context import Context
from ai_workflow.doctor.finding import SEVERITIES, Check, Finding
from ai_workflow.errors import AiWorkflowError

SECONDS = 20.0
ALL: Mapping[str, Check] = {
    "configuration": configuration.check,
    "versions": versions.check,
    "limits": limits.check,
    "store": store.check,
    "disks": disks.check,
    "models": models.check,
    "prefect server": prefect_server.check,
    "clock": prefect_server.check_clock,
    "workers": workers.check,
    "runs": runs.check_failed,
    "stale pipelines": runs.check_stale,
    "inference service": service.check,
    "alerts": relay.check,
}


@dataclass(frozen=True, slots=True)
class Result:
    """The findings of a check, the most serious first; none if all is well."""

    check: str
    findings: tuple[Finding, ...]

    @property
    def state(self) -> str:
        """The most serious finding, `ok` without one."""
        return self.findings[0].severity if self.findings else "ok"

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is broken or unknown."""
        return self.state not in ("error", "unknown")


def run(context: Context, checks: Mapping[str, Check] | None = None, seconds: float = SECONDS) -> list[Result]:
    """Return the results of checks, by default of all; a check that is not done in time keeps its findings so far."""
    deadline = time.monotonic() + seconds
    tasks = [_Task(name, check, context) for name, check in (ALL if checks is None else checks).items()]
    for task in tasks:
        task.thread.start()
    return [task.result(deadline, seconds) for task in tasks]


@dataclass
class _Task:
    name: str
    check: Check
    context: Context
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        # A thread that hangs, on a network file system for example, must not keep the process alive.
        self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def _run(self) -> None:
        try:
            for finding in self.check(self.context):
                self.findings.append(finding)
        except AiWorkflowError as error:
            self.findings.append(self._unknown(str(error)))
        except Exception as error:
            self.findings.append(self._unknown(f"{type(error).__name__}: {error}"))

    def result(self, deadline: float, seconds: float) -> Result:
        self.thread.join(max(0.0, deadline - time.monotonic()))
        findings = list(self.findings)
        if self.thread.is_alive():
            findings.append(self._unknown(f"it was not done within {seconds:g} s"))
        findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
        return Result(self.name, tuple(findings))

    def _unknown(self, reason: str) -> Finding:
        remedy = "Fix the other findings first, then run `ai-workflow doctor` again"
        return Finding("unknown", f"the check could not be done: {reason}", self.name, remedy)
