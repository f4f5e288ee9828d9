"""What becomes of a new `latest`: `stable` after a probation without a breach, rolled back after one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from ai_workflow.config.settings import Promotion
from ai_workflow.errors import AiWorkflowError
from ai_workflow.registry.change_log import State
from ai_workflow.registry.registry import Registry

_NOT_LOGGED = (
    ": answers of the inference service do not count, because service.prediction_log.enabled is false. Set it to true, "
    "set promotion.requests to 0, or run `ai-workflow models promote`"
)
Verdict = Literal["promote", "roll back", "wait", "nothing to do"]


@dataclass(frozen=True, slots=True)
class Probation:
    """How a `latest` that is not `stable` yet has done so far.

    Args:
        version: the one on probation.
        since: when it became `latest`.
        requests: the number of rows that it has answered since then.
        breach: the reason to roll it back; empty if there is none.
        recorded: a breach in its probation that no rollback has followed; empty if there is none.
        is_logged: whether the answers of the inference service are logged; others are not counted.
    """

    version: str
    since: datetime
    requests: int
    breach: str = ""
    recorded: str = ""
    is_logged: bool = True


def on_probation(registry: Registry) -> tuple[str, datetime] | None:
    """Return `latest` and since when it is that, or None if it is `stable` already, or there is none."""
    state = registry.state()
    if state.latest is None or state.latest == state.stable:
        return None
    since = None
    for line in reversed(registry.history(verified=False)):
        if line["aliases"]["latest"] != state.latest:
            break
        moment = datetime.fromisoformat(line["time"])
        since = moment if since is None else min(since, moment)
    return (state.latest, since) if since else None


def restart_if_ahead(registry: Registry, version: str, since: datetime, now: datetime) -> datetime:
    """Return the begin of a probation; where it lies in the future, the clock was ahead, and it begins now.

    The history gets a line for it, so that the next look finds the same moment.
    """
    if since <= now:
        return since

    def decide(state: State) -> dict[str, Any] | None:
        if state.latest != version:
            return None
        reason = f"the clock was ahead when the probation began ({since.isoformat()}): it begins again"
        return {"action": "probation", "reason": reason, "versions": [version]}

    with registry.locked():
        registry.change(decide)
    return now


def verdict(found: Probation | None, rules: Promotion, now: datetime) -> tuple[Verdict, str]:
    """Return what to do, and why."""
    if found is None:
        return "nothing to do", "latest is stable"
    if found.breach:
        return "roll back", found.breach
    if found.recorded:
        return "wait", (
            f"{found.version} is not promoted: {found.recorded}. Run `ai-workflow models rollback` or "
            "`ai-workflow models promote`"
        )
    # A clock that was set back makes a probation longer, never shorter than it says.
    age = now - found.since
    if age < timedelta(hours=rules.hours):
        left = timedelta(hours=rules.hours) - age
        return "wait", f"{found.version} is on probation for {_hours(left)} more"
    if found.requests < rules.requests:
        answered = f"{found.version} has answered {found.requests} rows of the {rules.requests} that it takes"
        return "wait", answered if found.is_logged else answered + _NOT_LOGGED
    return "promote", f"no breach in {_hours(age)} and {found.requests} rows"


def promote(registry: Registry, name: str, reason: str, *, expected: str | None = None) -> State | None:
    """Point `stable` at a version that is whole; None if it points there already or `latest` is not the expected one.

    Args:
        registry: where it is.
        name: an alias or a version.
        reason: why, for the history.
        expected: what `latest` must be still; if it is another, nothing happens.

    Raises:
        AiWorkflowError: there is no such version, or it is damaged.
    """
    with registry.locked():
        version = registry.get(name)
        if damaged := registry.damaged(version):
            raise AiWorkflowError(f"{version.name} is damaged, and stays what it is: {damaged[0]}. Publish another one")

        def decide(state: State) -> dict[str, Any] | None:
            if state.stable == version.name or expected not in (None, state.latest):
                return None
            return {"action": "promote", "reason": reason, "versions": [version.name], "stable": version.name}

        return _changed(registry, decide)


def roll_back(registry: Registry, reason: str, *, expected: str | None = None) -> State | None:
    """Point `latest` at the version behind `stable`; None if it points there already or is not the expected one.

    Args:
        registry: where it is.
        reason: why, for the history.
        expected: what `latest` must be still; if it is another, nothing happens.

    Raises:
        AiWorkflowError: `stable` is the very same, or gone.
    """
    with registry.locked():
        stable = registry.get("stable")

        def decide(state: State) -> dict[str, Any] | None:
            if state.latest is None or state.latest == stable.name or expected not in (None, state.latest):
                return None
            return {"action": "rollback", "reason": reason, "versions": [state.latest], "latest": stable.name}

        return _changed(registry, decide)


def _changed(registry: Registry, decide: Callable[[State], dict[str, Any] | None]) -> State | None:
    """Make a change of the registry; None if `decide` finds nothing to change in the state at hand."""
    is_made = False

    def noted(state: State) -> dict[str, Any] | None:
        nonlocal is_made
        decided = decide(state)
        is_made = decided is not None
        return decided

    changed = registry.change(noted)
    return changed if is_made else None


def _hours(time: timedelta) -> str:
    hours = time.total_seconds() / 3600
    return f"{hours:.0f} h" if hours >= 2 else f"{hours * 60:.0f} min"
