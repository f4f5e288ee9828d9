"""Columns that some input files lack: recorded by the loader, judged by the declared columns."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypedDict

from ai_workflow.config.settings import Column
from ai_workflow.errors import StageError
from ai_workflow.telemetry.logs import logger

log = logger("preprocessor")


class AbsentColumn(TypedDict):
    """The first file that lacks a column, and the number of such files."""

    file: str
    files: int


def of_files(names: Collection[str], files: Mapping[str, Collection[str]]) -> dict[str, AbsentColumn]:
    """Return the columns among `names` that some files lack.

    Args:
        names: all columns.
        files: the columns of each file.
    """
    absent: dict[str, AbsentColumn] = {}
    for file, present in files.items():
        for name in names:
            if name not in present:
                first = absent.setdefault(name, {"file": file, "files": 0})
                first["files"] += 1
    return absent


def check(
    absent: Mapping[str, AbsentColumn], declared: Mapping[str, Column], roles: Collection[str], is_closed: bool
) -> None:
    """Check that each column that some files lack may be missing.

    Args:
        absent: the columns that some files lack.
        declared: the declared columns, or those of a model.
        roles: target, id and timestamp.
        is_closed: whether other columns are ignored.

    Raises:
        StageError: a file lacks a required column.
    """
    for name, where in absent.items():
        column = declared.get(name)
        if column and (column.drop or column.fill is not None or (column.nullable and name not in roles)):
            continue
        if column is None and name not in roles:
            if not is_closed:
                log.warning(
                    "%s: its rows have no value in the undeclared column '%s'. "
                    "To confirm this, declare it: schema: {%s: {type: <type>, nullable: true}}",
                    _files(name, where), name, name,
                )  # fmt: skip
            continue
        raise StageError(f"{_files(name, where)}, which is required", _remedy(name, column, roles))


def _files(name: str, where: AbsentColumn) -> str:
    others = where["files"] - 1
    more = f" (and {others} more file{'s' if others > 1 else ''})" if others else ""
    return f"{where['file']}{more} has no column '{name}'"


def _remedy(name: str, column: Column | None, roles: Collection[str]) -> str:
    if column is None or name in roles:
        return f"Add '{name}' to the file, or leave the file out of source.path"
    return f"Add it to the file, or declare it: schema: {{{name}: {{type: {column.type}, nullable: true}}}}"
