"""The daily limit of reactions counts model versions: several alerts about one version take one slot."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.states import Completed, Crashed, Failed, Running

from ai_workflow.local.server import Server
from ai_workflow.orchestration import run_logs
from ai_workflow.orchestration.maintenance import reaction, reaction_limits
from ai_workflow.registry import promotion, publication
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store
from flows.reaction import reaction as reaction_flow
from tests.flows import prefect_worker
from tests.serving import published_models

pytestmark = pytest.mark.slow
ABOUT = {"kind": "lightgbm", "model_file": "model.txt", "task": "classification", "scores": {}}


@dataclass
class Place:
    """A registry, and a server with deployments that no worker runs: their runs wait."""

    folder: Path
    pipeline: str
    client: SyncPrefectClient
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def config(self) -> str:
        """The pipeline file."""
        return str(published_models.pipeline(self.folder, pipeline=self.pipeline))

    @property
    def overrides(self) -> dict[str, Any]:
        """The settings of every run."""
        return {"store.root": str(self.folder)}

    @property
    def registry(self) -> Registry:
        """The registry of the pipeline."""
        return Registry(Store(self.folder), f"models/development/{self.pipeline}")

    def publish(self) -> str:
        """Publish a version, which is on probation then unless it is the first."""
        number = len(self.registry.versions())
        version = publication.publish(
            self.registry, published_models.files(number), "a", ABOUT | {"pipeline": self.pipeline}
        ).name
        if number == 0:
            promotion.promote(self.registry, version, "a test")
        return version

    def breach(self, event: str, version: str, slo: str = "model", **limits: int) -> dict[str, Any]:
        """Return what the flow `reaction` answers to a breach."""
        given = self.overrides | {f"reactions.{name}": limit for name, limit in limits.items()}
        state = asyncio.run(
            reaction_flow(
                f"{self.pipeline}-{event}", slo, pipeline=self.pipeline, model_version=version, config=self.config,
                overrides=given, return_state=True,
            )
        )  # fmt: skip
        assert state.is_completed(), state
        answer: dict[str, Any] = asyncio.run(state.aresult())
        return answer

    def end(self, run_id: str, state: State[Any]) -> None:
        """Set the state of a run that was started."""
        for each in (Running(), state):
            self.client.set_flow_run_state(run_id, each, force=True)  # type: ignore[arg-type]

    def withheld(self) -> list[str]:
        """Return the texts of the events for the automation `reaction withheld`."""
        return [one["payload"]["says"] for one in self.events if one["event"] == reaction.WITHHELD]


@pytest.fixture
def place(
    prefect_server: Server, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """A place with a stable version; each test has a pipeline of its own, as slots are of a pipeline."""
    # The lines of this process belong to pytest.
    monkeypatch.setattr(run_logs, "set_up", lambda _: None)
    with get_client(sync_client=True) as client:
        for flow in ("training", "promotion"):
            prefect_worker.deploy(client, flow, {})
        number = sum(map(ord, request.node.name))
        found = Place(tmp_path, f"shop_{number}", client)
        monkeypatch.setattr(reaction, "emit_event", lambda **event: found.events.append(event))
        found.publish()
        yield found


def test_repeated_breaches_of_version_use_single_rollback_slot(place: Place) -> None:
    first = place.publish()
    started = place.breach("1", first, promotion_per_day=2)
    again = [place.breach(str(number), first, promotion_per_day=2) for number in (2, 3)]
    promotion.roll_back(place.registry, "the run did it")
    place.end(started["flow_run_id"], Completed())

    second = place.publish()
    next_one = place.breach("4", second, promotion_per_day=2)

    assert "was started, 1 of 2 today" in started["message"]
    assert [one["flow_run_id"] for one in again] == [started["flow_run_id"]] * 2
    assert all("handles the breach" in one["message"] for one in again)
    assert f"the roll-back of {second} was started, 2 of 2 today" in next_one["message"]
    assert place.withheld() == []


def test_rollback_above_daily_limit_is_withheld_and_reported(place: Place) -> None:
    first = place.publish()
    place.breach("1", first, promotion_per_day=1)
    promotion.roll_back(place.registry, "the run did it")
    second = place.publish()

    done = [place.breach(event, second, promotion_per_day=1) for event in ("2", "3")]

    assert [one["flow_run_id"] for one in done] == [None, None]
    assert len(place.withheld()) == 2
    assert "the roll-back of" in place.withheld()[0]
    assert "1 a day are allowed (reactions.promotion_per_day)" in place.withheld()[0]


def test_duplicate_event_starts_single_run(place: Place) -> None:
    version = place.publish()
    done = [place.breach("1", version) for _ in range(2)]
    assert done[0] == done[1]
    assert "was started, 1 of 3 today" in done[1]["message"]


@pytest.mark.parametrize("ended", [Failed(message="no space"), Crashed(message="killed"), Completed()])
def test_failed_rollback_is_retried_within_same_slot(place: Place, ended: State[Any]) -> None:
    version = place.publish()
    most = reaction_limits.MAX_ROLLBACK_ATTEMPTS
    done = []
    for number in range(most + 1):
        done.append(place.breach(str(number), version, promotion_per_day=2))
        if done[-1]["flow_run_id"]:
            place.end(done[-1]["flow_run_id"], ended)

    assert len({one["flow_run_id"] for one in done[:most]}) == most
    assert all("1 of 2 today" in one["message"] for one in done[:most])
    [text] = place.withheld()
    assert f"{most} runs of today have not rolled it back" in text
    assert "ai-workflow models rollback" in text
    promotion.roll_back(place.registry, "by hand")
    assert "2 of 2 today" in place.breach("next", place.publish(), promotion_per_day=2)["message"]


def test_manual_rollback_uses_no_daily_slot(place: Place) -> None:
    version = place.publish()
    deployment = place.client.read_deployment_by_name("promotion/promotion")
    given = {"config": place.config, "overrides": place.overrides, "breach": "it looks wrong"}
    other, own = (
        place.client.create_flow_run_from_deployment(deployment.id, parameters={**given, "model_version": name})
        for name in ("model_v9", version)
    )

    done = place.breach("1", version)

    assert done["flow_run_id"] == str(own.id)
    place.end(str(own.id), Failed())
    assert "1 of 3 today" in place.breach("2", version)["message"], "another version's run handles nothing"
    place.end(str(other.id), Completed())


def test_accuracy_breaches_use_single_slot_during_training(place: Place) -> None:
    version = str(place.registry.aliases()["stable"])
    started = place.breach("1", version, "accuracy")
    assert "a training was started, 1 of 2 today" in started["message"]
    for event, named in (("2", version), ("3", "")):
        again = place.breach(event, named, "accuracy")
        assert (again["what"], again["flow_run_id"]) == (None, started["flow_run_id"])
    assert place.withheld() == []

    place.end(started["flow_run_id"], Completed())
    after = place.breach("4", version, "accuracy")
    assert after["flow_run_id"] is None
    assert "a training was NOT started" in place.withheld()[0]
    assert "of today was for the same version" in place.withheld()[0]

    promotion.promote(place.registry, place.publish(), "a test")
    assert "2 of 2 today" in place.breach("5", str(place.registry.aliases()["stable"]), "accuracy")["message"]


def test_failed_training_is_retried_within_daily_limit(place: Place) -> None:
    version = str(place.registry.aliases()["stable"])
    for number in (1, 2):
        started = place.breach(str(number), version, "accuracy")
        assert f"{number} of 2 today" in started["message"]
        place.end(started["flow_run_id"], Failed())
    assert place.breach("3", version, "accuracy")["flow_run_id"] is None
    assert "2 a day are allowed (reactions.training_per_day)" in place.withheld()[0]
