"""Reader of labels: each as the text of a class or a number, by the feature specs of the versions."""

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
_MAX_CACHED = 10_000
_MAX_SHOWN_CLASSES = 10
_MAX_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class RejectedLabel:
    """A label that is not used.

    Args:
        reason: one of `REASONS`.
        text: the reason as a predicate of `the label`.
    """

    reason: str
    text: str


class LabelReader:
    """Reader of the labels of one pipeline.

    Args:
        specs: the feature specs of its versions, the newest first. The first version that reads a label as one of its
            classes determines its text. Without versions, any text is a class.
        is_number: whether labels are numbers.
    """

    def __init__(self, specs: Iterable[FeatureSpec], *, is_number: bool) -> None:
        self._is_number = is_number
        self._targets = [_Target(spec) for spec in specs if (spec["classes"] is None) == is_number]
        if is_number and not self._targets:
            self._targets = [_Target({"classes": None, "target": ""})]
        self._cached: dict[tuple[type, Any], str | RejectedLabel] = {}

    def read(self, sent: Sequence[Any]) -> list[str | RejectedLabel]:
        """Return the text of each label, or the reason for its rejection.

        Args:
            sent: n single values of JSON or a table.
        """
        keys = [(type(label), label) for label in sent]
        fresh = [key for key in dict.fromkeys(keys) if key not in self._cached]
        if len(self._cached) + len(fresh) > _MAX_CACHED:
            self._cached, fresh = {}, list(dict.fromkeys(keys))
        self._cached |= zip(fresh, self._read([label for _, label in fresh]), strict=True) if fresh else {}
        return [self._cached[key] for key in keys]

    def _read(self, sent: list[Any]) -> list[str | RejectedLabel]:
        if not self._targets:
            return [self._without_versions(label) for label in sent]
        results: dict[int, str | RejectedLabel] = {}
        for target in self._targets:
            unread = [index for index in range(len(sent)) if not isinstance(results.get(index), str)]
            texts = target.read([sent[index] for index in unread]) if unread else []
            for index, text in zip(unread, texts, strict=True):
                if isinstance(text, str) or index not in results:
                    results[index] = text
        return [self._with_classes(results[index], sent[index]) for index in range(len(sent))]

    def _without_versions(self, label: Any) -> str | RejectedLabel:
        text = str(label) if isinstance(label, datetime) else labels.text_of(label, is_number=False)
        return text if text is not None else RejectedLabel(UNREADABLE, f"{_shown(label)} is not a label")

    def _with_classes(self, result: str | RejectedLabel, label: Any) -> str | RejectedLabel:
        if isinstance(result, str) or result.reason == MISSING or self._is_number:
            return result
        classes = list(dict.fromkeys(name for target in self._targets for name in target.classes))
        shown = ", ".join(f"'{name}'" for name in classes[:_MAX_SHOWN_CLASSES])
        more = f" and {len(classes) - _MAX_SHOWN_CLASSES} more" if len(classes) > _MAX_SHOWN_CLASSES else ""
        return RejectedLabel(UNKNOWN, f"{_shown(label)} is none of the classes {shown}{more}")


class _Target:
    """The target of one version."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.classes: list[str] = spec["classes"] or []
        self._is_number = spec["classes"] is None
        self._cells = CellRules.of_spec(spec)
        declared = self._cells.target or Column(type="number" if self._is_number else "category")
        # A missing label is left out, even if training fills missing targets.
        self._column = declared.model_copy(update={"nullable": True, "fill": None})
        self._spelling = self._cells.spelling(spec["target"], self.classes)

    def read(self, sent: list[Any]) -> list[str | RejectedLabel]:
        """Return the text of each label, or the reason for its rejection."""
        values, findings = cells.of_json(sent, self._column, self._cells, self._spelling)
        texts = self._texts(values)
        return [self._result(index, label, texts[index], findings) for index, label in enumerate(sent)]

    def _texts(self, values: pd.Series) -> list[str | None]:
        import pandas as pd

        if self._is_number:
            return [None if pd.isna(value) else repr(float(value)) for value in values.tolist()]
        categories, _ = coercion.coerce(values, Column(type="category", nullable=True))
        return [None if pd.isna(value) else str(value) for value in categories.tolist()]

    def _result(
        self, index: int, label: Any, text: str | None, findings: list[coercion.Finding]
    ) -> str | RejectedLabel:
        for reason, hit in findings:
            if hit.iloc[index]:
                return RejectedLabel(UNREADABLE, f"{_shown(label)} {reason}")
        if text is None:
            return RejectedLabel(MISSING, f"{_shown(label)} reads as missing")
        if self._is_number or text in self.classes:
            return text
        return RejectedLabel(UNKNOWN, f"{_shown(label)} is no class")


def _shown(label: Any) -> str:
    text = f"'{label}'" if isinstance(label, str) else str(json_text(label))
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[:_MAX_SHOWN_CHARACTERS]}..."
