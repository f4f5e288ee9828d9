"""Warnings about undeclared columns, each with the setting that settles the doubt."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from ai_workflow import json_text
from ai_workflow.config.settings import Column
from ai_workflow.datasets.notation.number_shapes import NumberNotation

# A column with at least this share of numbers or dates is reported if it becomes words.
_NEARLY = 0.8
# With at least this many distinct values, half of them is enough if the others are a few words.
_MANY, _HALF = 50, 0.5
_MAX_WORDS = 8
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")


def ambiguous_number(name: str, example: str, unit: str) -> str:
    """Return the warning that the separator of a column may be that of decimals or of thousands."""
    options = (f"unit: {json_text.line(unit)}",) if unit else ()
    thousands, decimal = (_schema(name, "number", f'{key}: ","', *options) for key in ("thousands", "decimal"))
    return (
        f"'{example}' in column '{name}' may have a separator of thousands or of decimals, so the column is not read "
        f"as numbers. Add {thousands} or {decimal}"
    )


def ambiguous_date(name: str, example: str, forms: Sequence[str]) -> str:
    """Return the warning that day and month of a column may be exchanged."""
    lines = " or ".join(_schema(name, "datetime", f'format: "{form}"') for form in forms)
    doubt = "the day or the month first" if all("%d" in form for form in forms) else "a day or a year"
    return f"'{example}' in column '{name}' may have {doubt}, so the column is not read as dates. Add {lines}"


def unread_date(name: str, kind: str, example: str) -> str:
    """Return the warning that the values of a column look like dates that no format reads."""
    left = " and left out of the features" if kind == "text" else ""
    return (
        f"'{example}' in column '{name}' looks like a date that is not recognized, so it is read as {kind}{left}. "
        f"Write it as 2024-01-31 in the source, or add {_schema(name, 'category')} if it is right"
    )


def unread_measure(name: str, kind: str, example: str, distinct: int) -> str:
    """Return the warning that the values of a column look like quantities that no notation reads as numbers."""
    left = " and left out of the features" if kind == "text" else f" of {distinct} values"
    return (
        f"'{example}' in column '{name}' and its other values look like times, fractions or bounds, which are not read "
        f"as numbers, so it is read as {kind}{left}. Write them as plain numbers in the source, or add "
        f"{_schema(name, 'category')} if it is right"
    )


def maybe_timestamp(name: str, form: str, first: str, last: str) -> str:
    """Return the warning that the whole numbers of a column may be timestamps in a format."""
    meaning = {"epoch_s": "seconds since 1970", "epoch_ms": "milliseconds since 1970"}.get(form, "dates with a time")
    return (
        f"the values of column '{name}' may be {meaning} ({first} to {last}) and are read as integer. Add "
        f"{_schema(name, 'datetime', f'format: {json_text.line(form)}')}, or {_schema(name, 'integer')} if it is right"
    )


def unknown_unit(name: str, unit: str, notation: NumberNotation) -> str:
    """Return the warning that the numbers of a column have a unit."""
    line = _schema(name, "number", *_separators(notation), f"unit: {json_text.line(unit)}")
    return f"the values of column '{name}' are numbers with the unit '{unit}'. Add {line}"


def negative(name: str, notation: NumberNotation) -> str:
    """Return the warning that all values of a column may be negative numbers."""
    line = _schema(name, "number", *_separators(notation), "accounting: true")
    return (
        f"all values of column '{name}' have parentheses or a trailing minus, so it is read as text and left out of "
        f"the features. Add {line} if they are negative numbers"
    )


def mixed_units(name: str, units: Mapping[str, int]) -> str:
    """Return the warning that the numbers of a column have different units."""
    shown = ", ".join(f"{amount} with '{unit.strip()}'" for unit, amount in units.items())
    return (
        f"the numbers of column '{name}' have different units ({shown}), so the column is not read as numbers. Write "
        f"them with one unit, or add {_schema(name, 'category')}"
    )


def nearly(
    name: str, kind: str, values: str, amount: int, total: int, others: Mapping[str, int], distinct: int = 0
) -> tuple[str, ...]:
    """Return the warning that a column is words because of a few values.

    Args:
        name: the column.
        kind: its type, category or text.
        values: numbers or dates.
        amount: how many of them there are.
        total: the number of values.
        others: other values with their counts, the most frequent ones.
        distinct: the number of distinct values.
    """
    is_explained = 0 < len(others) <= _MAX_WORDS and sum(others.values()) >= total - amount
    share = _HALF if distinct > _MANY and is_explained else _NEARLY
    if not total or not share <= amount / total < 1:
        return ()
    words = [word for word, _ in sorted(others.items(), key=lambda item: (-item[1], item[0]))]
    shown = ", ".join(f"'{word}'" for word in words[:_MAX_WORDS]) + (", ..." if len(words) > _MAX_WORDS else "")
    remedy = f"source: {{missing: [{', '.join(map(json_text.line, words[:_MAX_WORDS]))}]}}"
    if not words or len(words) > _MAX_WORDS:
        limit = math.ceil(100 * (1 - amount / total)) / 100
        remedy = f"{_schema(name, 'number' if values == 'numbers' else 'datetime')} and reject_limit: {limit}"
    others_shown = f", the others {shown}" if words else ""
    warning = (
        f"{100 * amount / total:.1f} % of the values of column '{name}' are {values}{others_shown}, so it is read as "
        f"{kind}. Add {remedy}, or {_schema(name, kind)} if it is right"
    )
    return (warning,)


def notable(name: str, kind: str, problem: str, example: str) -> str:
    """Return the warning that a column of numbers has values that a number may not keep.

    Args:
        name: the column.
        kind: its type, integer or number.
        problem: kind of value, see `type_evidence.notable_numbers`.
        example: such a value.
    """
    if problem == "infinite":
        return (
            f"'{example}' in column '{name}' is not finite, so its rows are rejected. Add "
            f"source: {{missing: [{json_text.line(example)}]}} if it means a missing value"
        )
    reason = "has leading zeros" if problem == "code" else "has more digits than a number keeps"
    return (
        f"'{example}' in column '{name}' {reason}, and the column is read as {kind}. Add {_schema(name, 'category')} "
        f"if its values are codes, or {_schema(name, kind)} if it is right"
    )


def description(column: Column) -> str:
    """Return the type of a column with the options of its notation."""
    options = _options(column)
    return f"{column.type} with {', '.join(options)}" if options else column.type


def kept(name: str, version: str, published: str, by_values: str, column: Column) -> str:
    """Return the warning that a column stays words, as it was in a version, although its values have another type."""
    line = _schema(name, column.type, *_options(column))
    return (
        f"column '{name}' is read as {published}, as in {version}, although its values are {by_values} now. Add {line} "
        f"to read it so, or {_schema(name, published)} if it is right"
    )


def contradicted(name: str, version: str, published: str, by_values: str, kind: str) -> str:
    """Return the warning that the values of a column do not have its type in a version."""
    return (
        f"the values of column '{name}' contradict its type in {version}, {published}, so it is read as {by_values}. "
        f"Fix the source, or add {_schema(name, kind)} if it is right"
    )


def alike(name: str, kind: str, pair: str) -> str:
    """Return the warning that two values of a category differ by `spaces` or `case` only."""
    remedy = "Add source: {strip: true}" if kind == "spaces" else "Write them alike in the source"
    return (
        f"{pair} in column '{name}' differ by {kind} only and are two categories. {remedy}, or add "
        f"{_schema(name, 'category')} if it is right"
    )


def padded(name: str, value: str) -> str:
    """Return the warning that the values of a column have spaces around them."""
    return (
        f"'{value}' in column '{name}' begins or ends with a space, which a request must have as well. Add "
        f"source: {{strip: true}}, or {_schema(name, 'category')} if it is right"
    )


def missing_class(target: str, words: Sequence[str]) -> str:
    """Return the warning that classes of the target are usual words for a missing value."""
    shown = ", ".join(f"'{word}'" for word in words[:_MAX_WORDS])
    return (
        f"{shown} in the target '{target}' usually means a missing value and is a class. Add "
        f"source: {{missing: [{', '.join(map(json_text.line, words[:_MAX_WORDS]))}]}} to leave these rows out, or "
        f"{_target(target)} if it is right"
    )


def alike_classes(target: str, kind: str, pair: str) -> str:
    """Return the warning that two classes of the target differ by `spaces`, `case` or `notation` only."""
    remedy = "Add source: {strip: true}" if kind == "spaces" else "Write them alike in the source"
    return (
        f"{pair} in the target '{target}' differ by {kind} only and are two classes. {remedy}, or add "
        f"{_target(target)} if it is right"
    )


def left_out(name: str) -> str:
    """Return the warning that a column of unique texts is no feature."""
    return (
        f"column '{name}' is left out of the features, because nearly all of its values are different texts. Add "
        f"{_schema(name, 'category')} to use it, or {_schema(name, 'text')} if it is right"
    )


def _options(column: Column) -> list[str]:
    """Return the options of the notation of a column as YAML."""
    options = column.model_dump(include={"format", "decimal", "thousands", "unit", "accounting"}, exclude_defaults=True)
    return [f"{key}: {json_text.line(value)}" for key, value in options.items()]


def _separators(notation: NumberNotation) -> list[str]:
    """Return the options for the separators of a notation."""
    options = {"decimal": notation.decimal if notation.decimal != "." else None, "thousands": notation.thousands}
    return [f"{key}: {json_text.line(sign)}" for key, sign in options.items() if sign]


def _target(name: str) -> str:
    return _schema(name, "category").replace(", nullable: true", "")


def _schema(name: str, kind: str, *options: str) -> str:
    is_plain = _PLAIN.fullmatch(name) and name.lower() not in _RESERVED
    key = name if is_plain else json_text.line(name)
    return f"schema: {{{key}: {{{', '.join((f'type: {kind}', *options, 'nullable: true'))}}}}}"
