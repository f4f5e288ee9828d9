"""The message catalogues: the same keys and placeholders in every language."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from string import Formatter
from typing import Any, get_args

from ai_workflow.alerting.messages import catalogue
from ai_workflow.alerting.messages.catalogue import Language


def placeholders(texts: Any, key: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each key of a catalogue, with the sorted names of its placeholders."""
    if isinstance(texts, str):
        yield key, tuple(sorted(name for _, name, _, _ in Formatter().parse(texts) if name is not None))
        return
    for name, inner in texts.items():
        yield from placeholders(inner, f"{key}.{name}")


def test_catalogs_have_equal_keys_and_placeholders() -> None:
    found = {language: dict(placeholders(asdict(catalogue.load(language)))) for language in get_args(Language)}
    assert len(found) > 1
    assert all(keys == found["en"] for keys in found.values())
    assert found["en"][".lasted"] == ("duration", "end", "start")


def test_catalogs_are_cached_after_first_load() -> None:
    assert catalogue.load("zh") is catalogue.load("zh")
