"""Roles of the columns of a table: target, id and timestamp, each with the reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ai_workflow.errors import AiWorkflowError
from ai_workflow.new_pipeline.table_columns import Table, TableColumn

Task = Literal["classification", "regression"]
# Names that mean the target in any table.
_TARGETS = ("target", "label", "class", "y", "outcome", "response")
# Names of usual outcomes, which may be inputs of another model.
_OUTCOMES = re.compile(
    r"(is_)?(churn|churned|default|defaulted|fraud|survived|bought|purchased|converted|cancelled|price|sales|revenue|"
    r"quality|species|diagnosis|result|status|rating)"
)
_ID = re.compile(r"(id|uuid|guid|key|index|nr|no|.*_(id|uuid|key|nr|no|number))")
_CAMEL_ID = re.compile(r".*[a-z](Id|ID)")
# Names of columns of a file without a header.
_NAMELESS = re.compile(r"column_\d+")
_MAX_INTEGER_CLASSES = 20
_TARGET_TYPES = ("integer", "number", "boolean", "category")
_ID_TYPES = ("integer", "text", "category")
_MAX_CANDIDATES = 5


class RoleError(AiWorkflowError):
    """No column, or no suitable one, has a role."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A column that may have a role, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles of a table.

    Args:
        task: the task that fits the target.
        target: the target.
        id: the id, None if no column is clearly one.
        other_targets: other columns that may be the target.
        other_ids: other columns that may be the id.
        timestamps: columns with dates.
    """

    task: Task
    target: Candidate
    id: Candidate | None
    other_targets: tuple[Candidate, ...]
    other_ids: tuple[Candidate, ...]
    timestamps: tuple[Candidate, ...]


def find(table: Table, target: str | None, id_: str | None, task: Task | None) -> Roles:
    """Return the roles of the columns, those of the options first.

    Raises:
        RoleError: the target is not clear, or a column of an option is missing or not suitable.
    """
    columns = {column.name: column for column in table.columns}
    ids = [Candidate(each.name, _id_reason(each)) for each in table.columns if _can_be_id(each)]
    targets = _targets(table)
    chosen = _chosen_target(table, columns, targets, target)
    named = [each for each in ids if _is_id_name(each.name) and each.name != chosen.name]
    chosen_id = _given_id(columns, id_, chosen.name, table) if id_ else next(iter(named), None)
    taken = {chosen.name, chosen_id.name if chosen_id else None}
    dates = [column for column in table.columns if column.column.type == "datetime" and column.name not in taken]
    return Roles(
        task or _task(columns[chosen.name]),
        chosen,
        chosen_id,
        tuple(each for each in targets if each.name not in taken)[:_MAX_CANDIDATES],
        tuple(each for each in ids if each.name not in taken)[:_MAX_CANDIDATES],
        tuple(Candidate(each.name, f"{each.first} to {each.last}") for each in dates),
    )


def _chosen_target(
    table: Table, columns: dict[str, TableColumn], targets: list[Candidate], given: str | None
) -> Candidate:
    if given is not None:
        column = _require(columns, given, "--target", table)
        if column.column.type not in _TARGET_TYPES or column.distinct < 2:
            kind = f"of type {column.column.type}" if column.distinct > 1 else "the same in all rows"
            raise RoleError(f"--target: column '{given}' is {kind}. Choose a column of numbers or classes")
        return Candidate(given, "given by --target")
    by_rank = (
        [each for each in targets if _plain(each.name) in _TARGETS],
        [each for each in targets if _OUTCOMES.fullmatch(_plain(each.name))],
        targets,
    )
    # The only candidate of the first rank that has any; a name that stands for a missing header means nothing.
    clear = next((found for found in by_rank if found), [])
    if len(clear) == 1 and not _NAMELESS.fullmatch(clear[0].name):
        return clear[0]
    shown = ", ".join(f"{each.name} ({each.reason})" for each in targets[:_MAX_CANDIDATES])
    if not shown:
        raise RoleError("no column can be the target: none has numbers or classes. Add one to the table")
    raise RoleError(f"the target is not clear. Pass --target NAME; candidates: {shown}")


def _targets(table: Table) -> list[Candidate]:
    """Return the columns that may be the target, the most likely first."""
    ranked = []
    for number, column in enumerate(table.columns):
        if column.column.type not in _TARGET_TYPES or column.distinct < 2 or _can_be_id(column):
            continue
        is_last, name = number == len(table.columns) - 1, _plain(column.name)
        reasons = [(0, "it has the name of a target")] if name in _TARGETS else []
        reasons += [(1, "it has the name of an outcome")] if _OUTCOMES.fullmatch(name) else []
        reasons += [(2, "it is the last column")] if is_last else []
        reasons += [(3, "it has two classes")] if column.distinct == 2 else []
        if reasons:
            ranked.append((reasons[0][0], number, Candidate(column.name, f"{_kind(column)}, {reasons[0][1]}")))
    return [candidate for _, _, candidate in sorted(ranked, key=lambda each: each[:2])]


def _kind(column: TableColumn) -> str:
    return f"{column.distinct} classes" if _task(column) == "classification" else column.column.type


def _task(column: TableColumn) -> Task:
    """Return the task that fits a target."""
    if column.column.type in ("category", "boolean"):
        return "classification"
    is_few = column.distinct <= min(_MAX_INTEGER_CLASSES, max(2, column.rows // 10))
    return "classification" if column.column.type == "integer" and is_few else "regression"


def _can_be_id(column: TableColumn) -> bool:
    return column.is_unique and column.rows > 1 and column.column.type in _ID_TYPES


def _is_id_name(name: str) -> bool:
    return bool(_ID.fullmatch(_plain(name)) or _CAMEL_ID.fullmatch(name))


def _plain(name: str) -> str:
    """Return a name in lower case, with `_` in place of all but letters and digits: `Loan ID?` is `loan_id`."""
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


def _id_reason(column: TableColumn) -> str:
    return f"{column.column.type}, different in all {column.rows} rows"


def _given_id(columns: dict[str, TableColumn], name: str, target: str, table: Table) -> Candidate:
    column = _require(columns, name, "--id", table)
    if name == target:
        raise RoleError(f"--id: column '{name}' is the target. Choose another column")
    if column.missing:
        raise RoleError(f"--id: column '{name}' has no value in {column.missing} rows. Choose another column")
    repeated = column.rows - column.distinct
    return Candidate(
        name, f"given by --id; {repeated} rows repeat one and are removed" if repeated else "given by --id"
    )


def _require(columns: dict[str, TableColumn], name: str, option: str, table: Table) -> TableColumn:
    if name in columns:
        return columns[name]
    if name in table.empty:
        raise RoleError(f"{option}: column '{name}' has no value in any row. Choose another column")
    shown = ", ".join(list(columns)[:20]) + (", …" if len(columns) > 20 else "")
    raise RoleError(f"{option}: the table has no column '{name}'. It has {shown}")
