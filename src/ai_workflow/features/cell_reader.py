"""Reader of the input cells of a model version, by the rules of its training source."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ai_workflow import json_text
from ai_workflow.config.settings import Column
from ai_workflow.datasets import cells
from ai_workflow.datasets.category_spelling import CellError, Spelling
from ai_workflow.datasets.cells import CellRules
from ai_workflow.datasets.coercion import Finding
from ai_workflow.features import transform

if TYPE_CHECKING:
    import pandas as pd

    from ai_workflow.features.spec import FeatureSpec

_MAX_SHOWN = 60


class CellReader:
    """Reader of the input columns of a model version.

    Args:
        spec: the feature spec.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self.cells = CellRules.of_spec(spec)
        self.columns = {
            name: self.cells.accepted(name, Column(**spec["schema"][name])) for name in transform.input_columns(spec)
        }
        self._spec = spec

    @cached_property
    def known(self) -> dict[str, frozenset[str]]:
        """The values of each category in the training data, and those that the schema allows."""
        return known(self._spec)

    def row_id(self, name: str, value: Any) -> str | None:
        """Return the ID of a row as the scoring flow stores it; None if it is missing or not a single value."""
        if isinstance(value, list | dict):
            return None
        column = Column(type="text", nullable=True)
        if not isinstance(value, str):
            return cells.cell(value, column, self.cells.spelling(name))
        text = value.strip() if self.cells.strip else value
        return None if text in self.cells.tokens else text

    def is_known(self, name: str, value: Any) -> bool:
        """Return whether a category value of a request is in the training data or allowed by the schema."""
        if not isinstance(value, str):
            try:
                value = self.spellings[name].text(value)
            except CellError:
                return False
        text = value.strip() if self.cells.strip and value is not None else value
        return text in self.known[name]

    @cached_property
    def spellings(self) -> dict[str, Spelling]:
        """The spelling of each column in the training source."""
        return {name: self.cells.spelling(name, self.known.get(name, ())) for name in self.columns}

    def of_json(self, name: str, sent: Sequence[Any]) -> tuple[pd.Series, list[Finding]]:
        """Return the clean values of a column of JSON values, and the rejected rows with the reasons."""
        return cells.of_json(sent, self.columns[name], self.cells, self.spellings[name])

    def read(self, rows: Sequence[dict[str, Any]]) -> tuple[pd.DataFrame, list[str]]:
        """Return the clean values of request rows, and a message for each rejected value.

        The values of a row do not depend on other rows.

        Args:
            rows: n mappings with all columns, each a single JSON value.
        """
        import pandas as pd

        typed, problems = {}, []
        for name in self.columns:
            typed[name], findings = self.of_json(name, [row[name] for row in rows])
            for reason, rejected in findings:
                problems += [
                    f"rows[{number}].{name} {reason}: {_shown(rows[number][name])}"
                    for number in rejected.to_numpy().nonzero()[0].tolist()
                ]
        return pd.DataFrame(typed), problems


def known(spec: FeatureSpec) -> dict[str, frozenset[str]]:
    """Return the values of each category in the training data of a spec, and those that the schema allows."""
    known_values = {
        name: {*declared["allowed"]} if declared.get("allowed") else set()
        for name, declared in spec["schema"].items()
        if declared["type"] == "category"
    }
    for name, values in known_values.items():
        values |= {value for value, _ in spec.get("statistics", {}).get(name, {}).get("counts", ())}
    for feature in spec["features"]:
        if feature["kind"] == "category" and not feature.get("derived"):
            known_values[feature["column"]] |= set(feature["vocabulary"])
    return {name: frozenset(values) for name, values in known_values.items()}


def _shown(value: Any) -> str:
    """Return a value as JSON, shortened for a message."""
    text = json_text.line(json_text.finite(value))
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
