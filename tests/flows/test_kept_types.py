"""A pipeline keeps the types of its undeclared columns from one training to the next."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ai_workflow.local.server import Server
from tests.flows import sample_tables
from tests.flows.workspace import Run, Workplace

pytestmark = pytest.mark.slow


def _write(place: Workplace, amount: str) -> None:
    rows = [[*row, amount.format(100 + number % 50)] for number, row in enumerate(sample_tables.rows(300))]
    sample_tables.write(place.folder / "rows-1.csv", rows, [*sample_tables.HEADER, "amount"])


def _schema(place: Workplace) -> dict[str, Any]:
    latest = place.registry.get("latest")
    schema: dict[str, Any] = json.loads(place.registry.read(latest, "features.json"))["schema"]
    return schema


def _warnings(run: Run) -> list[str]:
    assert run.code == 0, run.output
    return [line.message for line in run.ours("WARN") if "'amount'" in line.message]


@pytest.mark.soak
def test_types_of_the_latest_version_are_kept_and_repeated_run_is_cached(prefect_server: Server, tmp_path: Any) -> None:
    place = Workplace(tmp_path)
    place.configure()
    _write(place, "{},5")
    assert not _warnings(place.train())

    # Alone, these values may have a separator of thousands.
    _write(place, "{},125")
    kept = place.train()
    assert not _warnings(kept)
    assert "types kept from model_v1.0: amount as number" in kept.output
    assert _schema(place)["amount"]["decimal"] == ","
    assert set(place.train().stages.values()) == {"CACHED"}

    place.configure("alone.yaml", keep_types=False)
    [warning] = _warnings(place.train("alone.yaml"))
    assert "may have a separator of thousands or of decimals" in warning
    assert _schema(place)["amount"]["type"] == "category"
