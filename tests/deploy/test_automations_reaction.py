"""What follows from a breach is decided by whose it is; the rest follows nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ai_workflow.config import loader
from ai_workflow.orchestration import flow_result
from ai_workflow.orchestration.maintenance import reaction
from ai_workflow.orchestration.maintenance.reaction import Breach, decide
from ai_workflow.provisioning import automation_sync, automations
from ai_workflow.provisioning.automations import References


@pytest.mark.parametrize(
    ("breach", "what", "why"),
    [
        (Breach("1", "accuracy", "sample", "", ""), "training", "accuracy is breached"),
        (Breach("1", "accuracy", "", "", ""), "training", "accuracy is breached"),
        (Breach("1", "accuracy", "sample", "model_v0.1", ""), None, "neither latest nor stable"),
        (Breach("1", "latency", "sample", "model_v0.1", ""), None, "training does not improve latency"),
        (Breach("1", "model", "sample", "model_v0.1", ""), None, "no version is on probation"),
        (Breach("1", "model", "sample", "", ""), None, "names no version"),
    ],
)
def test_breach_starts_only_suitable_reaction(
    breach: Breach, what: str | None, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIW_STORE", str(tmp_path))
    found = decide(loader.load(None).settings, breach)
    assert found[0] == what
    assert why in found[1]


def test_unhandled_pipeline_breach_is_logged_and_emits_event(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[dict[str, Any]] = []
    monkeypatch.setattr(reaction, "emit_event", lambda **event: events.append(event))
    with caplog.at_level("WARNING", logger=reaction.log.name):
        done = reaction.unhandled(loader.load(None).settings, Breach("1", "accuracy", "peas", "model_v1.2", ""))
    assert done.values["what"] is None
    [event] = events
    # The automation `reaction withheld` sends this event to the chats.
    assert event["event"] == reaction.WITHHELD
    for text in (event["payload"]["says"], caplog.text):
        assert "nothing was started for the breach of the pipeline peas" in text
        assert "is of the pipeline sample" in text


def test_automation_comparison_ignores_enabled_state() -> None:
    need = References(UUID(int=1), UUID(int=2), timedelta(seconds=60))
    again = automations.declared(References(UUID(int=1), UUID(int=2), timedelta(seconds=60)))
    other = automations.declared(References(UUID(int=1), UUID(int=2), timedelta(seconds=61)))
    first = automations.declared(need)
    assert [automation_sync.comparable(one) for one in first] == [automation_sync.comparable(one) for one in again]
    assert [
        one.name
        for one, another in zip(first, other, strict=True)
        if automation_sync.comparable(one) != automation_sync.comparable(another)
    ] == ["ai-workflow: run silent"]
    switched = first[0].model_copy(update={"enabled": False})
    assert automation_sync.comparable(switched) == automation_sync.comparable(first[0])


def test_automations_without_relay_or_reaction_omit_references() -> None:
    found = automations.declared(References(None, None, timedelta(seconds=60)))
    assert [one.name for one in found] == ["ai-workflow: run silent", "ai-workflow: run idle"]
    assert found[1].trigger.expect == {f"prefect.flow-run.{flow_result.IDLE}"}
