"""Promotion of `latest` to `stable` after a probation without a breach, and rollback after a breach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ai_workflow.config.settings import Promotion
from ai_workflow.errors import AiWorkflowError
from ai_workflow.registry.changes import Change, State
from ai_workflow.registry.registry import Registry

_NOT_LOGGED = (
    ": answers of the inference service do not count, because service.prediction_log.enabled is false. Set it to true, "
    "set promotion.requests to 0, or run `ai-workflow models promote`"
)
Verdict = Literal["promote", "roll back", "wait", "nothing to do"]


@dataclass(frozen=True, slots=True)
class Probation:
    """The probation of a `latest` that is not `stable` yet.

    Args:
        version: the version on probation.
        since: time at which it became `latest`.
        requests: rows that it has answered since then.
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
    """Return `latest` and the time at which it became that, or None if it is `stable` already or there is none."""
    state = registry.state()
    if state.latest is None or state.latest == state.stable:
        return None
    since = None
    for record in reversed(registry.history(verify=False)):
        if record["aliases"]["latest"] != state.latest:
            break
        changed = datetime.fromisoformat(record["time"])
        since = changed if since is None else min(since, changed)
    return (state.latest, since) if since else None


def restart_if_ahead(registry: Registry, version: str, since: datetime, now: datetime) -> datetime:
    """Return the start of a probation; if it lies in the future, the clock was ahead, and the probation starts now.

    The change log records the restart, so that later runs read the same start.
    """
    if since <= now:
        return since

    def decide(state: State) -> Change | None:
        if state.latest != version:
            return None
        reason = f"the clock was ahead when the probation began ({since.isoformat()}): it begins again"
        return Change("probation", reason, [version])

    with registry.locked():
        registry.change(decide)
    return now


def verdict(probation: Probation | None, rules: Promotion, now: datetime) -> tuple[Verdict, str]:
    """Return the action to take, and the reason."""
    if probation is None:
        return "nothing to do", "latest is stable"
    if probation.breach:
        return "roll back", probation.breach
    if probation.recorded:
        return "wait", (
            f"{probation.version} is not promoted: {probation.recorded}. Run `ai-workflow models rollback` or "
            "`ai-workflow models promote`"
        )
    # A clock that was set back makes a probation longer, never shorter than `rules.hours`.
    age = now - probation.since
    if age < timedelta(hours=rules.hours):
        left = timedelta(hours=rules.hours) - age
        return "wait", f"{probation.version} is on probation for {_hours(left)} more"
    if probation.requests < rules.requests:
        answered = f"{probation.version} has answered {probation.requests} rows of the {rules.requests} that it takes"
        return "wait", answered if probation.is_logged else answered + _NOT_LOGGED
    return "promote", f"no breach in {_hours(age)} and {probation.requests} rows"


def promote(registry: Registry, name: str, reason: str, *, expected: str | None = None) -> State | None:
    """Point `stable` at a version; None if it points there already or `latest` is not the expected one.

    Args:
        registry: the registry.
        name: an alias or a version.
        reason: the reason, for the change log.
        expected: required value of `latest`; if it is another, nothing changes.

    Raises:
        AiWorkflowError: there is no such version, or it is damaged.
    """
    with registry.locked():
        version = registry.get(name)
        if damaged := registry.damaged(version):
            raise AiWorkflowError(
                f"{version.name} is damaged, and cannot become stable: {damaged[0]}. Publish another version"
            )

        def decide(state: State) -> Change | None:
            if state.stable == version.name or expected not in (None, state.latest):
                return None
            return Change("promote", reason, [version.name], stable=version.name)

        return _changed(registry, decide)


def roll_back(registry: Registry, reason: str, *, expected: str | None = None) -> State | None:
    """Point `latest` at the version behind `stable`; None if it points there already or is not the expected one.

    Args:
        registry: the registry.
        reason: the reason, for the change log.
        expected: required value of `latest`; if it is another, nothing changes.

    Raises:
        AiWorkflowError: there is no `stable`.
    """
    with registry.locked():
        stable = registry.get("stable")

        def decide(state: State) -> Change | None:
            if state.latest is None or state.latest == stable.name or expected not in (None, state.latest):
                return None
            return Change("rollback", reason, [state.latest], latest=stable.name)

        return _changed(registry, decide)


def _changed(registry: Registry, decide: Callable[[State], Change | None]) -> State | None:
    """Make a change of the registry; None if `decide` returns no change for the current state."""
    is_changed = False

    def recorded(state: State) -> Change | None:
        nonlocal is_changed
        change = decide(state)
        is_changed = change is not None
        return change

    state = registry.change(recorded)
    return state if is_changed else None


def _hours(time: timedelta) -> str:
    hours = time.total_seconds() / 3600
    return f"{hours:.0f} h" if hours >= 2 else f"{hours * 60:.0f} min"
