"""A new version becomes stable after its probation, and is rolled back after a breach: once, whoever asks how often."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ai_workflow import publishing
from deploy.server import Server
from flows import run_logs
from flows.promotion import PROMOTED, ROLLED_BACK, promotion
from tests.flows import tables
from tests.flows.api import Api, until
from tests.flows.workplace import Run, Workplace
from tests.tables import damage

OVER = {"promotion.hours": 0, "promotion.requests": 100}


@pytest.fixture(scope="module")
def lived(trained_once: Workplace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, list[Run]]:
    """A second version that passes its probation, and a third that does not."""
    place = trained_once.copy(tmp_path_factory.mktemp("lived"))
    source = {"kind": "csv", "path": str(trained_once.folder / "rows-*.csv")}
    for steps in (12, 14):
        trainer = tables.PIPELINE["trainer"] | {"steps": steps}
        place.configure(f"{steps}.yaml", source=source, trainer=trainer, evaluate={"minimum": 0.7, "tolerance": 0.3})
    calls: list[dict[str, Any]] = [
        {"flow": "promotion", "config": "12.yaml"},
        {"flow": "training", "config": "12.yaml"},
        {"flow": "promotion", "config": "12.yaml"},
        {"flow": "promotion", "config": "12.yaml", "overrides": OVER},
        {"flow": "scoring", "config": "12.yaml"},
        {"flow": "promotion", "config": "12.yaml", "overrides": OVER},
        {"flow": "promotion", "config": "12.yaml", "overrides": OVER},
        {"flow": "training", "config": "14.yaml"},
        {"flow": "promotion", "config": "14.yaml", "breach": "99 % of the answers took over 200 ms"},
        {"flow": "promotion", "config": "14.yaml", "breach": "99 % of the answers took over 200 ms"},
    ]
    runs = place.call(calls)
    assert [run.code for run in runs] == [0] * len(calls), [run.output for run in runs if run.code]
    return place, [run for run, call in zip(runs, calls, strict=True) if call["flow"] == "promotion"]


def test_a_probation_is_long_enough_and_has_answered_enough(lived: tuple[Workplace, list[Run]]) -> None:
    _, runs = lived
    said = [[line.message for line in run.lines if line.logger == "ai_pipeline.promotion"] for run in runs]
    assert said[0] == ["small_credit: latest is stable"]
    assert said[1] == ["small_credit: model_v1.1 is on probation for 24 h more"]
    assert said[2] == ["small_credit: model_v1.1 has answered 0 rows of the 100 that it takes"]
    assert said[3][0].startswith("model_v1.1 promote: no breach in 0 min and 300 rows")
    assert said[4] == ["small_credit: latest is stable"]


def test_a_breach_rolls_back_with_its_reason(lived: tuple[Workplace, list[Run]]) -> None:
    place, runs = lived
    [line] = [line for line in runs[5].lines if line.level == "WARN"]
    assert line.message == (
        "model_v1.2 roll back: 99 % of the answers took over 200 ms (small_credit); "
        "latest is model_v1.1, stable model_v1.1"
    )
    assert [line.message for line in runs[6].lines if "promotion" in line.logger] == ["small_credit: latest is stable"]
    assert place.registry.aliases() == {"latest": "model_v1.1", "stable": "model_v1.1"}


def test_the_history_tells_of_each_once(lived: tuple[Workplace, list[Run]]) -> None:
    place, runs = lived
    told = [(line["action"], line["versions"]) for line in place.registry.history()]
    assert told == [
        ("publish", ["model_v1.0"]), ("publish", ["model_v1.1"]), ("promote", ["model_v1.1"]),
        ("publish", ["model_v1.2"]), ("rollback", ["model_v1.2"]),
    ]  # fmt: skip
    rolled = place.registry.history()[-1]
    assert rolled["reason"] == "99 % of the answers took over 200 ms"
    assert {line.trace for line in runs[5].lines if "promotion" in line.logger} == {rolled["trace_id"][:8]}


def test_prefect_is_told_so_that_automations_can_act(
    lived: tuple[Workplace, list[Run]], prefect_server: Server
) -> None:
    names = {PROMOTED, ROLLED_BACK}
    found = until(lambda: [event for event in Api(prefect_server).all("events") if event["event"] in names][1:])
    assert {event["resource"]["prefect.resource.name"] for event in found} <= {
        "small_credit model_v1.1", "small_credit model_v1.2",
    }  # fmt: skip


def test_a_damaged_version_does_not_outlive_its_probation(lived: tuple[Workplace, list[Run]], tmp_path: Path) -> None:
    place = lived[0].copy(tmp_path)
    _new_version(place)
    damage(place.store, f"{place.registry.folder}/model_v1.3/model.txt", "a bit flipped")
    [run] = place.call([{"flow": "promotion", "config": "12.yaml"}])
    assert "model.txt is missing or damaged" in place.registry.history()[-1]["reason"]
    assert place.registry.aliases()["latest"] == "model_v1.1"
    assert run.code == 0


def test_of_two_promotions_at_once_one_acts(
    lived: tuple[Workplace, list[Run]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = lived[0].copy(tmp_path)
    _new_version(place)
    monkeypatch.setenv("AIW_STORE", str(place.var))
    monkeypatch.setattr(run_logs, "set_up", lambda _: None)
    over = OVER | {"promotion.requests": 0}

    async def both() -> list[dict[str, Any]]:
        config = str(place.folder / "12.yaml")
        states = await asyncio.gather(*[promotion(config, overrides=over, return_state=True) for _ in range(3)])
        return [await state.aresult() for state in states]

    found = asyncio.run(both())
    assert [line["action"] for line in place.registry.history()][5:] == ["publish", "promote"]
    assert sum("promote" in one["message"] for one in found) == 1
    assert place.registry.aliases() == {"latest": "model_v1.3", "stable": "model_v1.3"}


def test_a_mistake_in_the_configuration_is_one_line(place: Workplace) -> None:
    [run] = place.call([{"flow": "promotion", "config": "no.yaml"}])
    assert run.code == 1
    assert "Traceback" not in run.output
    assert "no.yaml" in run.output


def _new_version(place: Workplace) -> None:
    """Publish the files of a version once more."""
    found = place.registry.get("model_v1.1")
    files = {name: place.registry.read(found, name) for name in found.manifest["files"]}
    about = {name: found.manifest[name] for name in ("kind", "model_file", "scores")}
    assert publishing.publish(place.registry, files, found.manifest["schema"], about).name == "model_v1.3"
