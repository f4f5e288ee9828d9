"""Decision on the type and notation of an undeclared text column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from ai_workflow.config.settings import Column
from ai_workflow.datasets.notation import date_shapes, notations, number_shapes, remedies
from ai_workflow.datasets.notation.number_shapes import NumberNotation
from ai_workflow.datasets.notation.published import NO_TYPES, PublishedTypes
from ai_workflow.datasets.notation.type_evidence import PYTHON_RULES, TextRules, TypeEvidence

_WORDS = ("category", "text")


class Inference(NamedTuple):
    """The declaration that fits a column, and warnings with the setting that settles a doubt.

    `kept` describes a type of the latest version that the values alone would not have.
    """

    column: Column
    warnings: tuple[str, ...] = ()
    kept: str = ""


class _Total(NamedTuple):
    """The evidence of all partitions."""

    present: int
    number: int
    whole: int
    integer: int
    date: int
    words: int
    accounting: int
    numbers: list[int]
    units: Counter[str]
    dates: Counter[str]
    others: Counter[str]
    example: str
    notable: dict[str, str]
    is_unique: bool
    distinct: int

    @property
    def values(self) -> int:
        """The number of values that are no missing words."""
        return self.present - self.words


def infer_column(
    name: str,
    parts: Sequence[TypeEvidence],
    limit: float,
    rules: TextRules = PYTHON_RULES,
    published: PublishedTypes = NO_TYPES,
) -> Inference:
    """Return the column declaration that fits the evidence of all partitions.

    Args:
        name: the column, for warnings.
        parts: the evidence of each partition.
        limit: share of values that may contradict the type; their rows are then rejected.
        rules: the rules of the source with which the evidence was counted.
        published: the types of the latest version, which are kept unless the values contradict them.
    """
    total = _total(parts, rules)
    enough = total.values * (1 - limit)
    inference = _by_values(name, total, enough, rules)
    column = published.of(name)
    if column is None or column == inference.column:
        return inference
    names = str(published.version), remedies.description(column), remedies.description(inference.column)
    if not _fits(column, total, enough, rules):
        warning = remedies.contradicted(name, *names, inference.column.type)
        return Inference(inference.column, (warning, *inference.warnings))
    is_hidden = column.type in _WORDS and inference.column.type not in _WORDS
    warnings = (remedies.kept(name, *names, inference.column),) if is_hidden else ()
    return Inference(column, warnings, f"{name} as {names[1]} ({names[2]} by its values)")


def _fits(column: Column, total: _Total, enough: float, rules: TextRules) -> bool:
    """Return whether enough values have the type and notation of a column."""
    if column.type in _WORDS:
        return True
    if column.type == "datetime":
        amount = total.dates[column.format] if column.format else total.date
    elif (notation := notations.number_notation(column)) in (None, rules.notation):
        amount = total.integer if column.type == "integer" else total.number
    else:
        amounts = zip(total.numbers, rules.candidates, strict=True)
        amount = next((amount for amount, each in amounts if notation and each[:2] == notation[:2]), 0)
        amount = amount if {_setting(unit) for unit in total.units if unit} <= {column.unit} else 0
    return 0 < amount >= enough


def _by_values(name: str, total: _Total, enough: float, rules: TextRules) -> Inference:
    if total.number and total.number >= enough:
        return _plain_number(name, total, rules)
    if total.date and total.date >= enough:
        return Inference(Column(type="datetime", nullable=True))
    for infer in (_written_number, _written_date):
        if inference := infer(name, total, enough, rules):
            return inference
    column = _words(total)
    warnings = remedies.nearly(name, column.type, *_nearest(total), total.values, total.others, total.distinct)
    if not warnings and (example := total.notable.get("date")):
        warnings = (remedies.unread_date(name, column.type, example),)
    if not warnings and (example := total.notable.get("measure")):
        warnings = (remedies.unread_measure(name, column.type, example, total.distinct),)
    if column.type == "category":
        pairs = {kind: total.notable[kind] for kind in ("spaces", "case") if kind in total.notable}
        warnings += tuple(remedies.alike(name, kind, pair) for kind, pair in pairs.items())
        if "padded" in total.notable and "spaces" not in pairs:
            warnings += (remedies.padded(name, total.notable["padded"]),)
    return Inference(column, warnings or ((remedies.left_out(name),) if column.type == "text" else ()))


def is_unique(part: TypeEvidence) -> bool:
    """Return whether most values of a partition are distinct; a column is unique if all its partitions are."""
    return part["distinct"] > max(50, part["present"] / 2)


def _words(total: _Total) -> Column:
    # Nearly all values are distinct: names, free text, IDs. A model cannot generalize from them.
    return Column(type="text" if total.is_unique else "category", nullable=True)


def _plain_number(name: str, total: _Total, rules: TextRules) -> Inference:
    if total.dates[date_shapes.COMPACT] == total.number:
        return Inference(Column(type="datetime", nullable=True, format=date_shapes.COMPACT))
    kind: Literal["integer", "number"] = "integer" if total.integer == total.number else "number"
    column = Column(type=kind, nullable=True, decimal=rules.decimal, thousands=rules.thousands)
    is_whole = total.whole == total.number
    kinds = [
        problem for problem in total.notable if problem in ("wide", "infinite") or (problem == "code" and is_whole)
    ]
    problems = [remedies.notable(name, kind, problem, total.notable[problem]) for problem in kinds]
    return Inference(column, tuple(problems))


def _written_number(name: str, total: _Total, enough: float, rules: TextRules) -> Inference | None:
    """Return the declaration of a column of numbers that are not written as in Python; None if it is no such column."""
    by_decimal: dict[str, tuple[int, NumberNotation]] = {}
    for amount, notation in zip(total.numbers, rules.candidates, strict=True):
        if amount > by_decimal.get(notation.decimal, (0, notation))[0]:
            by_decimal[notation.decimal] = amount, notation
    fitting = {decimal: pair for decimal, pair in by_decimal.items() if pair[0] >= enough}
    units = [unit for unit in total.units if unit]
    is_strange = any(unit.endswith(" ") and not number_shapes.is_known_unit(unit) for unit in units)
    if not fitting or is_strange:
        return None
    amount, notation = max(fitting.values(), key=lambda pair: pair[0])
    if total.accounting == max(total.numbers):
        column = _words(total)
        problems = (remedies.negative(name, notation),) if column.type == "text" else ()
        return Inference(column, problems)
    # Without a decimal separator both decimal separators read the same values, unless it may separate thousands.
    if (
        len({notation.thousands for _, notation in fitting.values()}) > 1
        and total.numbers[0] < amount
        and not _is_settled([pair[0] for pair in fitting.values()], total)
    ):
        unit = _setting(units[0]) if len(units) == 1 else ""
        return Inference(_words(total), (remedies.ambiguous_number(name, total.example, unit),))
    if problem := _unit_problem(name, total, units, notation):
        return Inference(_words(total), (problem,))
    column = Column(
        type="number", nullable=True, decimal=rules.decimal or ("," if notation.decimal == "," else None),
        thousands=notation.thousands, unit=_setting(units[0]) if units else None, accounting=total.accounting > 0,
    )  # fmt: skip
    if notations.is_plain(column):
        # A space after the sign, as in `- 5`, is read in columns with a notation only.
        column = column.model_copy(update={"decimal": "."})
    return Inference(column)


def _is_settled(amounts: Sequence[int], total: _Total) -> bool:
    """Return whether one reading fits all values and the others do not."""
    return list(amounts).count(total.values) == 1


def _unit_problem(name: str, total: _Total, units: list[str], notation: NumberNotation) -> str | None:
    if not units:
        return None
    if len(units) > 1:
        return remedies.mixed_units(name, total.units)
    if not number_shapes.is_known_unit(units[0]):
        return remedies.unknown_unit(name, units[0].strip(), notation)
    is_mixed = units[0] == "%" and total.units[""] > 0
    return remedies.mixed_units(name, total.units) if is_mixed else None


def _setting(unit: str) -> str:
    return number_shapes.PERCENT if unit.strip() == "%" else unit.strip()


def _written_date(name: str, total: _Total, enough: float, _: TextRules) -> Inference | None:
    """Return the declaration of a column of dates that are not ISO 8601; None if it is no such column."""
    # One format for each order of day, month and year: others read the same dates.
    fitting: dict[str, tuple[int, str]] = {}
    for form, amount in total.dates.items():
        order = "".join(letter.lower() for letter in form if letter in "dmYybB").replace("b", "m")
        if amount >= enough and amount > fitting.get(order, (0, ""))[0]:
            fitting[order] = amount, form
    if not fitting:
        return None
    amounts = [amount for amount, _ in fitting.values()]
    if len(fitting) > 1 and not _is_settled(amounts, total):
        forms = [form for _, form in fitting.values()]
        return Inference(_words(total), (remedies.ambiguous_date(name, total.example, forms),))
    return Inference(Column(type="datetime", nullable=True, format=max(fitting.values())[1]))


def _nearest(total: _Total) -> tuple[str, int]:
    """Return `numbers` or `dates`, and the largest number of values that one notation reads."""
    dates = max([total.date, *total.dates.values()])
    is_known = all(number_shapes.is_known_unit(unit) for unit in total.units if unit)
    numbers = max([total.number, *(total.numbers if is_known else ())])
    return ("numbers", numbers) if numbers >= dates else ("dates", dates)


def _total(parts: Sequence[TypeEvidence], rules: TextRules) -> _Total:
    numbers = [0] * len(rules.candidates)
    units, dates, others = Counter[str](), Counter[str](), Counter[str]()
    for part in parts:
        # Notations are not counted in a partition of plain numbers; whole ones have no decimal separator.
        plain = [
            part["number"] if each.decimal == "." or rules.notation else part["whole"] for each in rules.candidates
        ]
        numbers = [left + right for left, right in zip(numbers, part["numbers"] or plain, strict=True)]
        units.update(part["units"] or ({"": part["number"]} if part["number"] else {}))
        dates.update(part["dates"])
        others.update(part["others"])
    sums = {
        key: sum(part[key] for part in parts)
        for key in ("present", "number", "whole", "integer", "date", "words", "accounting")
    }
    notable = {kind: cell for part in reversed(parts) for kind, cell in part["notable"].items()}
    return _Total(
        **sums, numbers=numbers, units=units, dates=dates, others=others, notable=notable,
        example=next((part["example"] for part in parts if part["example"]), ""),
        is_unique=all(is_unique(part) for part in parts if part["present"]),
        distinct=max((part["distinct"] for part in parts), default=0),
    )  # fmt: skip
