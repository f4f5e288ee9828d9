"""Text of a pipeline file: settings for what is clear, and comments for what a person may decide."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ai_workflow.config.settings import Column, FileSource
from ai_workflow.new_pipeline.roles import Candidate, Roles
from ai_workflow.new_pipeline.table_columns import Table, TableColumn
from ai_workflow.telemetry.control_characters import escape

_WIDTH = 118
_MAX_CLASSES = 5


def render(name: str, folder: Path, table_file: Path, source: FileSource, table: Table, roles: Roles) -> str:
    """Return the text of `pipelines/<name>/pipeline.yaml`.

    Args:
        name: the name of the pipeline.
        folder: the folder of the file, to which its paths are relative.
        table_file: the file of the table.
        source: the source of the table.
        table: the columns of the table.
        roles: the roles of the columns.
    """
    target = next(column for column in table.columns if column.name == roles.target.name)
    lines = [
        *_comment(f"Written by `ai-workflow pipeline add` from {table_file.name}: {table.rows} rows, "
                  f"{len(table.columns) + len(table.empty)} columns. docs/pipelines.md describes all keys."),
        f"pipeline: {name}",
        _with_comment(f"task: {roles.task}", _classes(target) if roles.task == "classification" else ""),
        "source:",
        *(f"  {key}: {_flow(value)}" for key, value in _source(source, folder, table_file).items()),
        _role("target", roles.target),
        *_suggestions("target", roles.other_targets, "Other columns that may be the target:"),
        *([_role("id", roles.id)] if roles.id else []),
        *_suggestions("id", roles.other_ids, "Other columns that may name a row:" if roles.id else
                      "Columns that may name a row; the id is no feature:"),
        *_suggestions("timestamp", roles.timestamps, "The holdout is the latest rows if a timestamp is set:"),
        "",
        *_schema(table, roles),
        *_doubts(table, roles),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _source(source: FileSource, folder: Path, table_file: Path) -> dict[str, Any]:
    """Return the options of the source that differ from the defaults; its path is relative within the project."""
    options = source.model_dump(mode="json", exclude_defaults=True, exclude={"kind", "path"})
    project, absolute = folder.resolve().parents[1], table_file.resolve()
    path = os.path.relpath(absolute, folder.resolve()) if absolute.is_relative_to(project) else str(absolute)
    return {"kind": source.kind, "path": path, **options}


def _classes(target: TableColumn) -> str:
    shown = ", ".join(f"{value} ({count})" for value, count in target.common[:_MAX_CLASSES])
    more = f", and {target.distinct - _MAX_CLASSES} more" if target.distinct > _MAX_CLASSES and shown else ""
    return f"{target.distinct} classes: {shown}{more}" if shown else f"{target.distinct} classes"


def _role(key: str, role: Candidate) -> str:
    return _with_comment(f"{key}: {_flow(role.name)}", role.reason)


def _suggestions(key: str, candidates: tuple[Candidate, ...], title: str) -> Iterator[str]:
    if candidates:
        yield f"# {title}"
        for each in candidates:
            yield _with_comment(f"#   {key}: {_flow(each.name)}", each.reason)


def _schema(table: Table, roles: Roles) -> Iterator[str]:
    """Yield the columns that must be left out, and the types of the others as comments."""
    mark = "  # " if table.empty else "#   "
    if table.empty:
        yield "schema:"
        for name in table.empty:
            yield _with_comment(f"  {_key(name)}: {{drop: true}}", "no value in any row")
    title = "Types by the values, for the features. Remove the # of a line to fix a type"
    yield f"  # {title}." if table.empty else f"# {title}, and of `schema:`."
    if not table.empty:
        yield "# schema:"
    for column in table.columns:
        if column.name not in (roles.target.name, roles.id.name if roles.id else None):
            left_out = "left out of the features" if column.column.type == "text" else ""
            yield _with_comment(f"{mark}{_key(column.name)}: {_flow(_declaration(column.column))}", left_out)


def _declaration(column: Column) -> dict[str, Any]:
    """Return a type with its notation; missing values are accepted, as for a column that is not declared."""
    options = column.model_dump(mode="json", exclude_defaults=True, exclude={"nullable"})
    return {**options, "nullable": True}


def doubts(table: Table, roles: Roles) -> list[str]:
    """Return the warnings about columns that are not the id, which is no feature whatever its values are."""
    about_id = f"column '{roles.id.name}' is left out of the features" if roles.id else None
    return [warning for warning in table.warnings if about_id is None or about_id not in warning]


def _doubts(table: Table, roles: Roles) -> Iterator[str]:
    if warnings := doubts(table, roles):
        yield ""
        yield "# Doubtful columns, each with the setting that settles it:"
        for warning in warnings:
            yield from _comment(warning, "# - ")


def _with_comment(line: str, comment: str) -> str:
    return f"{line}  # {_clean(comment)}" if comment else line


def _comment(text: str, first: str = "# ") -> list[str]:
    options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(_clean(text), _WIDTH, initial_indent=first, subsequent_indent="#".ljust(len(first)), **options)


def _clean(text: str) -> str:
    """Return a text on one line; YAML has more line ends than LF, which `split` removes."""
    return escape(" ".join(text.split()))


class _Dumper(yaml.SafeDumper):
    """YAML dumper that writes each text on one line."""


def _on_one_line(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Quoted so, line ends of Unicode are escaped; otherwise they would be folded.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if len(text.splitlines()) > 1 else None)


_Dumper.add_representer(str, _on_one_line)


def _key(name: str) -> str:
    """Return a name as a key of YAML."""
    dumped: str = yaml.dump(name, Dumper=_Dumper, allow_unicode=True, width=math.inf)
    return dumped.removesuffix("...\n").strip("\n")


def _flow(value: Any) -> str:
    """Return a value as YAML on one line, without placeholders of the configuration."""
    dumped: str = yaml.dump(
        _literal(value), Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=math.inf, sort_keys=False
    )
    return dumped.removesuffix("...\n").strip("\n")


def _literal(value: Any) -> Any:
    """Return a value whose texts are no placeholders of the configuration."""
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_literal(item) for item in value]
    return value.replace("${", "$${") if isinstance(value, str) else value
