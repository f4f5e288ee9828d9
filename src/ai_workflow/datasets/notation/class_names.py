"""Classes of an undeclared target that need a warning: missing words, spaces, and classes that are alike."""

from __future__ import annotations

from collections.abc import Sequence

from ai_workflow.datasets import numerals
from ai_workflow.datasets.notation import missing_words, notable_values, remedies


def warnings(target: str, classes: Sequence[str]) -> list[str]:
    """Return the warnings about the classes of a target, each with the setting that settles the doubt."""
    words = [name for name in classes if _is_missing_word(name) and not (name.strip() == "-" and "+" in classes)]
    texts = [remedies.missing_class(target, words)] if words else []
    pairs = notable_values.alike_words(classes) or _equal_numbers(classes)
    padded = pairs.pop("padded", None)
    texts += [remedies.alike_classes(target, kind, pair) for kind, pair in pairs.items()]
    return [*texts, remedies.padded(target, padded)] if padded is not None and "spaces" not in pairs else texts


def _is_missing_word(name: str) -> bool:
    return name.strip().lower() in (*missing_words.WORDS, "nan")


def _equal_numbers(classes: Sequence[str]) -> dict[str, str]:
    """Return the first pair of classes that are the same number."""
    first: dict[float, str] = {}
    for name in classes:
        number = None if numerals.is_code(name) else numerals.exact(name)
        if number is not None and (other := first.setdefault(number, name)) != name:
            return {"notation": f"'{other}' and '{name}'"}
    return {}
