"""A new version becomes stable after its probation, and is rolled back after a breach: once, whoever asks how often."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.events.schemas.events import Event

from ai_workflow.local.server import Server
from ai_workflow.orchestration import run_logs
from ai_workflow.orchestration.maintenance.promotion import BREACHED, PROMOTED, ROLLED_BACK
from ai_workflow.registry import promotion as registry_promotion
from ai_workflow.registry import publication
from flows.promotion import promotion
from tests import prefect_retry
from tests.flows.prefect_api import Api, until
from tests.flows.workspace import Workplace
from tests.tables import damage

pytestmark = pytest.mark.integration

OVER = {"promotion.hours": 0, "promotion.requests": 100}


@pytest.fixture
def place(trained: Workplace) -> Iterator[Workplace]:
    """A place with a second version, which is on probation and has answered nothing."""
    found = trained.registry.get("latest")
    files = {name: trained.registry.read(found, name) for name in found.manifest["files"]}
    about = {name: found.manifest[name] for name in ("kind", "model_file", "scores")}
    assert publication.publish(trained.registry, files, found.manifest["schema"], about).name == "model_v1.1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIW_STORE", str(trained.var))
        # The lines of this process belong to pytest.
        patch.setattr(run_logs, "set_up", lambda _: None)
        yield trained


def _asked(place: Workplace, at_once: int = 1, **parameters: Any) -> list[dict[str, Any]]:
    """Run the flow, so many times at once, and return what each says."""

    async def all_of_them() -> list[dict[str, Any]]:
        config = str(place.folder / "pipeline.yaml")
        states = await asyncio.gather(*[promotion(config, **parameters, return_state=True) for _ in range(at_once)])
        assert all(state.is_completed() for state in states), states
        return [await state.aresult() for state in states]

    return asyncio.run(all_of_them())


def _has_answered(place: Workplace, version: str) -> None:
    """Let the predictions of the first version be those of another, stored now."""
    [folder] = (place.var / "predictions" / "small_credit").iterdir()
    shutil.copytree(folder, folder.with_name(version), copy_function=shutil.copyfile)


@pytest.mark.slow
def test_version_stays_on_probation_until_time_and_rows_are_reached(place: Workplace) -> None:
    [early] = _asked(place)
    [unasked] = _asked(place, overrides=OVER)
    assert early["message"] == "model_v1.1 is on probation for 24 h more"
    assert unasked["message"] == "model_v1.1 has answered 0 rows of the 100 that it takes"
    assert place.registry.aliases() == {"latest": "model_v1.1", "stable": "model_v1.0"}


@pytest.mark.slow
def test_promotion_explains_uncounted_rows(place: Workplace) -> None:
    [folder] = (place.var / "predictions" / "small_credit").iterdir()
    # As before, moments of the files included: these were answered before the probation.
    shutil.copytree(folder, folder.with_name("model_v1.1"))
    [done] = _asked(place, overrides={**OVER, "service.prediction_log.enabled": False})
    assert done["verdict"] == "wait"
    assert done["message"].startswith("model_v1.1 has answered 0 rows of the 100 that it takes: answers of the infer")
    assert "service.prediction_log.enabled is false. Set it to true" in done["message"]


@pytest.mark.slow
def test_version_is_promoted_after_probation_with_event(place: Workplace, prefect_server: Server) -> None:
    _has_answered(place, "model_v1.1")
    [done] = _asked(place, overrides=OVER)
    assert done["message"] == "model_v1.1: promote: no breach in 0 min and 300 rows"
    assert place.registry.aliases() == {"latest": "model_v1.1", "stable": "model_v1.1"}
    assert _asked(place, overrides=OVER)[0]["message"] == "latest is stable"
    line = place.registry.history()[-1]
    assert (line["action"], line["versions"]) == ("promote", ["model_v1.1"])
    assert line["trace_id"] in _told(prefect_server, PROMOTED)


@pytest.mark.slow
def test_breach_rolls_back_immediately_with_reason(place: Workplace, prefect_server: Server) -> None:
    for _ in range(2):
        _asked(place, breach="99 % of the answers took over 200 ms")
    assert place.registry.aliases() == {"latest": "model_v1.0", "stable": "model_v1.0"}
    lines = place.registry.history()
    assert [line["action"] for line in lines] == ["publish", "publish", "rollback"]
    assert (lines[-1]["versions"], lines[-1]["reason"]) == (["model_v1.1"], "99 % of the answers took over 200 ms")
    assert lines[-1]["trace_id"] in _told(prefect_server, ROLLED_BACK)


@pytest.mark.slow
def test_version_with_open_breach_is_not_promoted(place: Workplace, prefect_server: Server) -> None:
    _has_answered(place, "model_v1.1")
    _breached(prefect_server, "small_credit", "model_v1.1")
    [done] = _asked(place, overrides=OVER)
    assert done["verdict"] == "wait"
    assert done["message"].startswith("model_v1.1 is not promoted: model_v1.1 of small_credit fails. Run `ai-workflow")
    assert place.registry.aliases() == {"latest": "model_v1.1", "stable": "model_v1.0"}


@pytest.mark.slow
def test_unrelated_breach_does_not_block_promotion(place: Workplace, prefect_server: Server) -> None:
    _has_answered(place, "model_v1.1")
    _breached(prefect_server, "small_credit", "model_v1.1", datetime.now(UTC) - timedelta(hours=3))
    _breached(prefect_server, "small_credit", "model_v1.0")
    _breached(prefect_server, "another", "model_v1.1")
    [done] = _asked(place, overrides=OVER)
    assert done["verdict"] == "promote"


def _breached(server: Server, pipeline: str, version: str, at: datetime | None = None) -> None:
    """Emit the event that the relay makes of a breach, and wait until the server has it."""
    resource: Any = {
        "prefect.resource.id": f"ai-workflow.slo.model.{pipeline}.{version}",
        "ai-workflow.pipeline": pipeline, "ai-workflow.model_version": version,
    }  # fmt: skip
    summary = {"summary": f"{version} of {pipeline} fails"}
    event = Event(event=BREACHED, resource=resource, payload=summary, occurred=at or datetime.now(UTC))
    content = f"[{event.model_dump_json()}]"
    with prefect_retry.client(server.api_url) as client:
        client.post("/events", content=content).raise_for_status()
    until(lambda: [one for one in Api(server).all("events") if one["id"] == str(event.id)])


def test_breach_of_older_version_does_not_roll_back_newer_version(place: Workplace) -> None:
    """The run for a breach can begin after the next version was published."""
    [done] = _asked(place, breach="slow answers", model_version="model_v1.0")
    assert done["verdict"] == "nothing to do"
    assert done["message"] == "model_v1.0 is not on probation any more, and is not rolled back: slow answers"
    assert place.registry.aliases() == {"latest": "model_v1.1", "stable": "model_v1.0"}
    [done] = _asked(place, breach="slow answers", model_version="model_v1.1")
    assert place.registry.aliases() == {"latest": "model_v1.0", "stable": "model_v1.0"}


def test_damaged_version_on_probation_is_rolled_back(place: Workplace) -> None:
    damage(place.store, f"{place.registry.folder}/model_v1.1/model.txt", "a bit flipped")
    _asked(place)
    assert place.registry.aliases()["latest"] == "model_v1.0"
    assert "model.txt is missing or damaged" in place.registry.history()[-1]["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("breach", ["", pytest.param("errors", marks=pytest.mark.soak)])
def test_concurrent_promotions_act_once(place: Workplace, breach: str) -> None:
    _has_answered(place, "model_v1.1")
    found = _asked(place, at_once=3, overrides=OVER, breach=breach)
    assert [line["action"] for line in place.registry.history()][2:] == ["rollback" if breach else "promote"]
    assert sum(one["message"].startswith("model_v1.1: ") for one in found) == 1


@pytest.mark.slow
@pytest.mark.parametrize("breach", ["", "errors"])
def test_promotion_lost_to_concurrent_run_is_not_reported_twice(
    place: Workplace, breach: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _has_answered(place, "model_v1.1")
    for name in ("promote", "roll_back"):
        act = getattr(registry_promotion, name)

        def quicker(*args: Any, act: Any = act, **named: Any) -> Any:
            act(*args, **named)
            return act(*args, **named)

        monkeypatch.setattr(registry_promotion, name, quicker)
    [done] = _asked(place, overrides=OVER, breach=breach)
    assert done["message"] == "another promotion was quicker"
    assert len(place.registry.history()) == 3


@pytest.mark.slow
def test_promotion_runs_manually_and_reports_config_error(place: Workplace) -> None:
    done = place.start(["-m", "ai_workflow", "run", "promotion", "--pipeline", "pipeline.yaml"])
    assert done.code == 0
    assert "[INFO] ai_pipeline.promotion: small_credit: model_v1.1 is on probation for 24 h more" in done.output
    wrong = place.start(["-m", "ai_workflow", "run", "promotion", "--pipeline", "no.yaml"])
    assert wrong.code == 1
    assert "Traceback" not in wrong.output
    assert "no.yaml" in wrong.output


def _told(server: Server, event: str) -> str:
    """Return the payloads of the events of a kind, once there is one."""
    return " ".join(until(lambda: [str(one["payload"]) for one in Api(server).all("events") if one["event"] == event]))
