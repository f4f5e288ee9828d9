"""Types of the columns of a table: declared, given by a role or the source, or inferred from text values."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ai_workflow.config.settings import Column
from ai_workflow.datasets import absent_columns, numerals
from ai_workflow.datasets.kernels import index_column
from ai_workflow.datasets.notation import notations
from ai_workflow.datasets.notation.published import PublishedTypes
from ai_workflow.datasets.notation.type_evidence import TextRules
from ai_workflow.datasets.notation.type_inference import Inference
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import StageError
from ai_workflow.features.row_rules import RowRules
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger

# Largest share of values that may contradict the inferred type of a column, even if reject_limit is higher.
_MAX_CONTRADICTING = 0.05
log = logger("preprocessor")


@dataclass(frozen=True, slots=True)
class ColumnTypes:
    """The columns of a table before their values are read.

    Args:
        kinds: column -> kind in the source, in the order of the table.
        columns: column -> its declaration, or that of its role; None if it has neither.
        inferred: the text columns whose type, or whose notation, depends on their values.
        warnings: doubts about columns that are left out.
        rules: the rules of the rows.
        published: the types of the latest version for undeclared columns.
    """

    kinds: dict[str, str]
    columns: dict[str, Column | None]
    inferred: list[str]
    warnings: list[str]
    rules: RowRules
    published: PublishedTypes

    @classmethod
    def of(cls, store: Store, dataset: Dataset, rules: RowRules, published: PublishedTypes) -> ColumnTypes:
        """Return the columns of a loaded dataset.

        Raises:
            StageError: a column is missing.
        """
        kinds = {column["name"]: column["type"] for column in dataset.info["columns"]}
        absent, roles = (
            dataset.info.get("absent", {}),
            [each for each in (rules.target, rules.id, rules.timestamp) if each],
        )
        _check_names(kinds, rules)
        if rules.closed:
            absent_columns.check(absent, rules.columns, roles, is_closed=True)
            return cls(kinds, dict(rules.columns), [], [], rules, published)
        undeclared = [name for name in kinds if name not in rules.columns and name not in roles]
        indexes, warnings = index_column.find(store, dataset, undeclared)
        kinds, absent = ({name: each[name] for name in each if name not in indexes} for each in (kinds, absent))
        absent_columns.check(absent, rules.columns, roles, is_closed=False)
        columns = {name: rules.columns.get(name) or _role_column(name, rules) for name in kinds}
        texts = [name for name, kind in kinds.items() if kind == "string" and name not in rules.columns]
        inferred = [name for name in texts if _is_inferred(columns[name])]
        return cls(kinds, columns, inferred, warnings, rules, published)

    @property
    def text_rules(self) -> TextRules:
        """The rules of the source for undeclared columns."""
        return TextRules(self.rules.decimal, self.rules.thousands, self.rules.cells.default_missing)

    @property
    def limit(self) -> float:
        """The share of values that may contradict an inferred type."""
        return min(self.rules.reject_limit, _MAX_CONTRADICTING)

    def decide(self, inferences: Mapping[str, Inference], rows: int) -> dict[str, Column]:
        """Return the declarations of the columns of a table with `rows` rows, and log the undeclared ones.

        Raises:
            StageError: an undeclared column has no value.
        """
        for name in self.inferred:
            if name not in inferences and self.columns[name] is None:
                raise empty_column_error(name, rows)
        columns = self.resolve(inferences)
        if kept := [inference.kept for inference in inferences.values() if inference.kept]:
            log.info("types kept from %s: %s", self.published.version, "; ".join(kept))
        if not self.rules.closed:
            undeclared = [name for name in self.kinds if name not in self.rules.columns and name != self.rules.target]
            _log_types(columns, undeclared)
        return columns

    def resolve(self, inferences: Mapping[str, Inference]) -> dict[str, Column]:
        """Return the declarations of the columns that are kept, in the order of the table.

        Args:
            inferences: the declarations that fit the values of `inferred` columns.
        """
        if self.rules.closed:
            return dict(self.rules.columns)
        resolved = {}
        for name, column in self.columns.items():
            kind = inferences[name].column.type if name in inferences else self.kinds[name]
            typed = column or Column(type=kind, nullable=True)
            if name in inferences:
                typed = _with_notation(typed, inferences[name].column)
            resolved[name] = notations.with_defaults(typed, self.rules.decimal, self.rules.thousands)
        return {name: column for name, column in resolved.items() if not column.drop}

    def rules_with(self, columns: dict[str, Column]) -> RowRules:
        """Return the rules with the kinds of the kept columns, the declared target and the inferred integers."""
        if self.rules.closed:
            return self.rules
        kinds = {name: kind for name, kind in self.kinds.items() if name in columns}
        target = columns[self.rules.target] if self.rules.target else None
        integers = [
            name for name, column in columns.items() if column.type == "integer" and name not in self.rules.columns
        ]
        update = {"kinds": kinds, "target": target, "inferred": tuple(integers)}
        return self.rules.model_copy(update={"cells": self.rules.cells.model_copy(update=update)})


def empty_column_error(name: str, rows: int) -> StageError:
    """Return the error about a column without a value."""
    return StageError(
        f"column '{name}' has no value in any of {rows} rows",
        f"Fix the source, or leave the column out: schema: {{{name}: {{type: text, drop: true}}}}",
    )


def _check_names(kinds: dict[str, str], rules: RowRules) -> None:
    """Raise StageError if a column is missing."""
    if rules.closed:
        _require(rules.columns, kinds, "the model needs column")
        return
    _require([name for name in (rules.target,) if name], kinds, "the target column is missing: no column")
    _require(
        [name for name in (rules.id, rules.timestamp) if name],
        kinds,
        "the id or timestamp column is missing: no column",
    )
    declared = [name for name, column in rules.columns.items() if not column.drop]
    _require(declared, kinds, "`schema` declares a column that is not there: no column")


def _require(names: Iterable[str], present: Mapping[str, str], problem: str) -> None:
    """Raise StageError if a column is missing."""
    for name in names:
        if name not in present:
            similar = difflib.get_close_matches(name, present, n=1)
            hint = f"Did you mean '{similar[0]}'?" if similar else _name_hint(present)
            shown = ", ".join(list(present)[:20]) + (", …" if len(present) > 20 else "")
            raise StageError(f"{problem} '{name}'; the table has {shown}", hint)


def _name_hint(names: Iterable[str]) -> str:
    """Return the remedy for a missing column; names that are numbers are probably the first row."""
    if any(numerals.exact(name.replace(",", ".")) is not None for name in names):
        return "Fix the name, or set source.header: false and name the `columns` if the first line is a row"
    return "Fix the name, or `source.columns`"


def _role_column(name: str, rules: RowRules) -> Column | None:
    if name == rules.target:
        return Column(type="category" if rules.task == "classification" else "number")
    if name == rules.id:
        return Column(type="text")
    return Column(type="datetime") if name == rules.timestamp else None


def _is_inferred(role: Column | None) -> bool:
    """Return whether the values of an undeclared column are read to infer its type, or the notation of its role."""
    return role is None or role.type in ("number", "datetime")


def _with_notation(role: Column, inferred: Column) -> Column:
    """Return a column with the notation that its values have, if they have the type of its role."""
    if inferred.type != role.type:
        return role
    return inferred.model_copy(update={"nullable": role.nullable})


def _log_types(columns: dict[str, Column], undeclared: list[str]) -> None:
    by_type: dict[str, list[str]] = {}
    for name in undeclared:
        by_type.setdefault(columns[name].type, []).append(name)
    for kind, names in by_type.items():
        shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        left = " (left out of the features)" if kind == "text" else ""
        log.info("%d columns typed by their values as %s%s: %s", len(names), kind, left, shown)
