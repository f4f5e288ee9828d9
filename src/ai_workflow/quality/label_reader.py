"""Reader of labels: each as the text of a class or of a number, by the rules of the versions that predict it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ai_workflow.config.settings import Column
from ai_workflow.datasets import cells, coercion
from ai_workflow.datasets.category_spelling import json_text
from ai_workflow.datasets.cells import CellRules
from ai_workflow.quality import labels

if TYPE_CHECKING:
    import pandas as pd

    from ai_workflow.features.spec import FeatureSpec

MISSING, UNKNOWN, UNREADABLE = "missing", "unknown_class", "unreadable"
REASONS = (MISSING, UNKNOWN, UNREADABLE)
_MAX_REMEMBERED = 10_000
_MAX_SHOWN_CLASSES, _MAX_SHOWN = 10, 60


@dataclass(frozen=True, slots=True)
class Rejected:
    """A label that counts for no prediction.

    Args:
        reason: one of `REASONS`.
        text: the same in words, after `the label`.
    """

    reason: str
    text: str


class LabelReader:
    """Labels of one pipeline.

    Args:
        specs: the feature specs of its versions, the newest first. The first version that reads a label as one of its
            classes decides on its text. Without versions, a class is any text.
        is_number: whether labels are numbers.
    """

    def __init__(self, specs: Iterable[FeatureSpec], *, is_number: bool) -> None:
        self._is_number = is_number
        self._targets = [_Target(spec) for spec in specs if (spec["classes"] is None) == is_number]
        if is_number and not self._targets:
            self._targets = [_Target({"classes": None, "target": ""})]
        self._remembered: dict[tuple[type, Any], str | Rejected] = {}

    def read(self, sent: Sequence[Any]) -> list[str | Rejected]:
        """Return the text of each label, or the reason for its rejection.

        Args:
            sent: n single values, as JSON or a table has them.
        """
        keys = [(type(label), label) for label in sent]
        fresh = [key for key in dict.fromkeys(keys) if key not in self._remembered]
        if len(self._remembered) + len(fresh) > _MAX_REMEMBERED:
            self._remembered, fresh = {}, list(dict.fromkeys(keys))
        self._remembered |= zip(fresh, self._read([label for _, label in fresh]), strict=True) if fresh else {}
        return [self._remembered[key] for key in keys]

    def _read(self, sent: list[Any]) -> list[str | Rejected]:
        if not self._targets:
            return [self._without_versions(label) for label in sent]
        found: dict[int, str | Rejected] = {}
        for target in self._targets:
            left = [place for place in range(len(sent)) if not isinstance(found.get(place), str)]
            for place, read in zip(left, target.read([sent[place] for place in left]), strict=True) if left else ():
                if isinstance(read, str) or place not in found:
                    found[place] = read
        return [self._with_classes(found[place], sent[place]) for place in range(len(sent))]

    def _without_versions(self, label: Any) -> str | Rejected:
        text = str(label) if isinstance(label, datetime) else labels.text_of(label, is_number=False)
        return text if text is not None else Rejected(UNREADABLE, f"{_shown(label)} is not a label")

    def _with_classes(self, read: str | Rejected, label: Any) -> str | Rejected:
        if isinstance(read, str) or read.reason == MISSING or self._is_number:
            return read
        classes = list(dict.fromkeys(name for target in self._targets for name in target.classes))
        shown = ", ".join(f"'{name}'" for name in classes[:_MAX_SHOWN_CLASSES])
        more = f" and {len(classes) - _MAX_SHOWN_CLASSES} more" if len(classes) > _MAX_SHOWN_CLASSES else ""
        return Rejected(UNKNOWN, f"{_shown(label)} is none of the classes {shown}{more}")


class _Target:
    """The target of one version."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.classes: list[str] = spec["classes"] or []
        self._is_number = spec["classes"] is None
        self._cells = CellRules.of_spec(spec)
        declared = self._cells.target or Column(type="number" if self._is_number else "category")
        # A missing label is left out, whatever training puts in its place.
        self._column = declared.model_copy(update={"nullable": True, "fill": None})
        self._spelling = self._cells.spelling(spec["target"], self.classes)

    def read(self, sent: list[Any]) -> list[str | Rejected]:
        """Return the text of each label, or the reason for its rejection."""
        values, findings = cells.of_json(sent, self._column, self._cells, self._spelling)
        texts = self._texts(values)
        return [self._one(place, sent[place], texts[place], findings) for place in range(len(sent))]

    def _texts(self, values: pd.Series) -> list[str | None]:
        import pandas as pd

        if self._is_number:
            return [None if pd.isna(value) else repr(float(value)) for value in values.tolist()]
        words, _ = coercion.coerce(values, Column(type="category", nullable=True))
        return [None if pd.isna(value) else str(value) for value in words.tolist()]

    def _one(self, place: int, label: Any, text: str | None, findings: list[coercion.Finding]) -> str | Rejected:
        for reason, hit in findings:
            if hit.iloc[place]:
                return Rejected(UNREADABLE, f"{_shown(label)} {reason}")
        if text is None:
            return Rejected(MISSING, f"{_shown(label)} reads as missing")
        if self._is_number or text in self.classes:
            return text
        return Rejected(UNKNOWN, f"{_shown(label)} is no class")


def _shown(label: Any) -> str:
    text = f"'{label}'" if isinstance(label, str) else str(json_text(label))
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
