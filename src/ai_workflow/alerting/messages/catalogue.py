"""Message catalogues in English and Chinese, read from YAML files of this package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import yaml

Language = Literal["en", "zh"]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Texts of one language, with named placeholders."""

    severities: Mapping[str, str]
    resolved: str
    firing_count: str
    resolved_count: str
    value: str
    last_value: str
    objective: str
    since: str
    lasted: str
    trace: str
    more: str
    links: Mapping[str, str]
    units: Mapping[str, str]
    list_separator: str
    separator: str


@cache
def load(language: Language) -> Catalogue:
    """Return the catalogue of a language."""
    text = resources.files(__package__).joinpath(f"{language}.yaml").read_text(encoding="utf-8")
    return Catalogue(**yaml.safe_load(text))
