"""Warnings about columns are logged once, and are in the card and in an artifact of the run, also if it fails."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ai_workflow.local.server import Server
from tests.flows import sample_tables
from tests.flows.prefect_api import Api
from tests.flows.workspace import Run, Workplace

pytestmark = pytest.mark.slow
AMBIGUOUS = 'schema: {at: {type: datetime, format: "%d/%m/%Y", nullable: true}}'


@pytest.fixture(scope="module")
def runs(prefect_server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, list[Run]]:
    """A training, the same again from the cache, and one that the gate rejects."""
    place = Workplace(tmp_path_factory.mktemp("warned"))
    rows = [
        [*row, f"{1 + number % 9:02}/{1 + number % 12:02}/2025", f"name {number}"]
        for number, row in enumerate(sample_tables.rows(300))
    ]
    sample_tables.write(place.folder / "rows-1.csv", rows, [*sample_tables.HEADER, "at", "name"])
    place.configure()
    place.configure("strict.yaml", evaluate={"minimum": 1.0})
    calls = [{"flow": "training", "config": name} for name in ("pipeline.yaml", "pipeline.yaml", "strict.yaml")]
    return place, place.call(calls)


def test_column_warnings_are_logged_once_by_the_stage_that_decides(runs: tuple[Workplace, list[Run]]) -> None:
    first, again, _ = runs[1]
    assert [run.code for run in runs[1]] == [0, 0, 1]
    logged = Counter((line.logger, line.message) for line in first.ours("WARN"))
    about_columns = {key: count for key, count in logged.items() if "column '" in key[1]}
    assert sorted(about_columns.values()) == [1, 1]
    assert {logger for logger, _ in about_columns} == {"ai_pipeline.preprocessor"}
    assert set(again.stages.values()) == {"CACHED"}


def test_every_run_has_the_warnings_as_artifact(runs: tuple[Workplace, list[Run]], prefect_server: Server) -> None:
    for run in runs[1]:
        artifact = Api(prefect_server).artifacts(run.events[0].flow_run_id)["small-credit-training-warnings"]
        assert artifact["data"].count(AMBIGUOUS) == 1
        assert "column 'name' is left out of the features" in artifact["data"]


def test_card_lists_columns_left_out_with_reasons(runs: tuple[Workplace, list[Run]]) -> None:
    place = runs[0]
    card = Path(place.var / place.registry.folder / "model_v1.0" / "card.md").read_text()
    assert "- **columns left out**: `name` (text)\n" in card
    assert [card.count(text) for text in ("in column 'at' may have", "column 'name' is left out")] == [1, 1]
