"""The parameters that the decorators add to each flow, as the form of the Prefect UI shows them."""

from __future__ import annotations

import importlib

import pytest
from prefect.utilities.callables import parameter_schema

PIPELINES = ("training", "scoring", "evaluation")
MAINTENANCE = ("promotion", "reaction", "retention", "drill", "recovery")
SHARED = ("config", "environment", "overrides", "log_level")
OWN = {
    "scoring": ["version"],
    "promotion": ["breach", "model_version"],
    "reaction": ["event_id", "slo", "pipeline", "model_version", "summary", "training", "promotion"],
    "retention": ["wait_hours"],
    "drill": ["what"],
}


@pytest.mark.parametrize("name", [*PIPELINES, *MAINTENANCE])
def test_a_flow_has_the_shared_parameters_and_its_own(name: str) -> None:
    flow = getattr(importlib.import_module(f"flows.{name}"), name)
    schema = parameter_schema(flow).model_dump()
    shared = [*SHARED, *(["traceparent"] if name in PIPELINES else [])]

    assert (flow.name, flow.fn.__name__) == (name, name)
    assert sorted(schema["properties"]) == sorted([*shared, *OWN.get(name, [])])
    assert all(field["description"] for field in schema["properties"].values())
    assert all(schema["properties"][each]["default"] is None for each in shared)
    assert (flow.description or "").partition("\n")[0].endswith(".")


def test_only_the_event_and_the_slo_of_a_reaction_are_required() -> None:
    flow = importlib.import_module("flows.reaction").reaction
    assert sorted(parameter_schema(flow).required) == ["event_id", "slo"]
