"""Columns of the clean data that are no input of a model, with the reasons."""

from __future__ import annotations

from ai_workflow.features.spec import FeatureSpec


def find(spec: FeatureSpec) -> dict[str, str]:
    """Return column -> reason for the columns that are neither a feature nor have a role."""
    roles = {spec["target"], spec["id"], spec["timestamp"]}
    used = {feature["column"] for feature in spec["features"]} | roles
    only_training = spec.get("training_columns", [])
    return {
        name: "needed by the training only" if name in only_training else _reason(declared["type"])
        for name, declared in spec["schema"].items()
        if name not in used
    }


def _reason(kind: str) -> str:
    return "text" if kind == "text" else "no value in the training rows"
