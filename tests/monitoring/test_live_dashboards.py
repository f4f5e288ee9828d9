"""Every query of every dashboard finds something in a live system, and every series has the name that is promised."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest

from tests.monitoring.dashboard_reader import Reader
from tests.monitoring.e2e_stack import WholeSystem, whole_system
from tests.monitoring.paths import GENERATED
from tests.patience import PATIENCE
from tests.serving import published_models
from tests.serving.running_service import dumps
from tests.serving.traffic import Traffic

FILES = sorted((GENERATED / "grafana" / "dashboards").glob("*.json"))
BOARDS = {path.stem: json.loads(path.read_text()) for path in FILES}
# Long enough for a busy machine: a quiet one is done within seconds.

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeSystem]:
    """A system that had trouble, has some still, and is asked all the time."""
    with whole_system(tmp_path_factory.mktemp("system")) as found:
        found.go_on()
        found.live_through_faults()
        with Traffic(found.running.port, dumps([published_models.ROW]), 30):
            yield found


def target(board: dict[str, Any], title: str, number: int = 0) -> dict[str, Any]:
    """Return a query of the panel with this title."""
    panel = next(one for one in board["panels"] if one["title"] == title and "targets" in one)
    found: dict[str, Any] = panel["targets"][number]
    return found


# What a reader of a changed overview or list of promises would see.
BROKEN: dict[str, tuple[str, Change, str]] = {
    "a metric that nobody exports": (
        "overview",
        lambda board: target(board, "Requests").update(expr="rate(inference_totals[$__rate_interval])"),
        "overview / Requests shows nothing",
    ),
    "one query of three": (
        "overview",
        lambda board: target(board, "Latency", 1).update(expr="inference_latency_seconds"),
        "overview / Latency / B never finds a number",
    ),
    "a query that is always no number": (
        "overview",
        lambda board: target(board, "Saturation").update(expr="inference_in_flight_requests * NaN"),
        "overview / Saturation shows nothing",
    ),
    "a label that was summed away": (
        "overview",
        lambda board: target(board, "Requests").update(legendFormat="{{model_version}} {{status}}"),
        "without model_version",
    ),
    "two series of one name": (
        "slo",
        lambda board: target(board, "Budget left").update(legendFormat="{{slo}}"),
        "series 'accuracy'",
    ),
    "a table whose rows have no name": (
        "overview",
        lambda board: target(board, "Versions").update(expr="sum(inference_rows_total)"),
        "without version",
    ),
    "a mark at no moment": (
        "overview",
        lambda board: board["annotations"]["list"][0].update(expr="model_loaded_timestamp_seconds"),
        "not within the last day",
    ),
    "a choice of nothing": (
        "slo",
        lambda board: board["templating"]["list"][2].update(query='label_values(up{job="x"}, pipeline)'),
        "variable pipeline has no values",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_has_live_data_and_complete_legends(name: str, system: WholeSystem) -> None:
    deadline = time.monotonic() + PATIENCE
    while found := Reader(system.prometheus, BOARDS[name], system.began).look():
        assert time.monotonic() < deadline, "\n".join(dict.fromkeys(found))
        system.go_on()
        time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.parametrize("fault", BROKEN)
def test_broken_panel_is_detected(fault: str, system: WholeSystem) -> None:
    name, change, said = BROKEN[fault]
    board = deepcopy(BOARDS[f"ai-workflow-{name}"])
    change(board)

    found = Reader(system.prometheus, board, system.began).look()

    assert any(said in one for one in found), found


@pytest.mark.slow
def test_prometheus_query_error_is_reported(system: WholeSystem) -> None:
    board = deepcopy(BOARDS["ai-workflow-overview"])
    target(board, "Requests")["expr"] = "rate(inference_total)"

    with pytest.raises(AssertionError, match="expected type range vector"):
        Reader(system.prometheus, board, system.began).look()
