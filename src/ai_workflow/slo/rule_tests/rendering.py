"""Rendering of annotation templates as Prometheus does it, limited to the functions that annotations use."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from ai_workflow.slo import label_lookup
from ai_workflow.slo.label_lookup import ExampleSeries

_EXPRESSION = re.compile(r"\{\{\s*(\$value|\$labels\.\w+)\s*(?:\|\s*(\w+)(?:\s+\"([^\"]*)\")?\s*)?\}\}")


def render(template: str, value: float, labels: Mapping[str, str], series: Sequence[ExampleSeries] = ()) -> str:
    """Return the text of an annotation in Prometheus with these series.

    Raises:
        KeyError: the template uses an unsupported function.
    """

    def expanded(match: re.Match[str]) -> str:
        if match[1] != "$value":
            return labels.get(match[1].removeprefix("$labels."), "")
        if match[2] == "printf":
            return match[3] % value
        return FUNCTIONS[match[2]](value)

    return _EXPRESSION.sub(expanded, label_lookup.expand(template, labels, series))


def _duration(value: float) -> str:
    if abs(value) < 1:
        return f"{value:.4g}s" if value else "0s"
    sign, whole = "-" if value < 0 else "", int(abs(value))
    days, hours, minutes, seconds = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    return f"{sign}{minutes}m {seconds}s" if minutes else f"{sign}{abs(value):.4g}s"


def _binary(value: float) -> str:
    prefixes = ["", "ki", "Mi", "Gi", "Ti", "Pi"]
    while abs(value) >= 1024 and len(prefixes) > 1:
        prefixes.pop(0)
        value /= 1024
    return f"{value:.4g}{prefixes[0]}"


FUNCTIONS: Mapping[str, Callable[[float], str]] = {
    "humanize1024": _binary,
    "humanizePercentage": lambda value: f"{value * 100:.4g}%",
    "humanizeDuration": _duration,
}
