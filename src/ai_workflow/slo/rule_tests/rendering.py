"""The few things of Go's templates that annotations use, so that tests can say what a message will read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from ai_workflow.slo import trials_format

_PLACE = re.compile(r"\{\{\s*(\$value|\$labels\.\w+)\s*(?:\|\s*(\w+)(?:\s+\"([^\"]*)\")?\s*)?\}\}")


def render(template: str, value: float, labels: Mapping[str, str], series: Sequence[trials_format.Example] = ()) -> str:
    """Return the text that Prometheus makes of an annotation, when it has just these series.

    Raises:
        KeyError: it uses a function that is not known here.
    """

    def filled(found: re.Match[str]) -> str:
        if found[1] != "$value":
            return labels.get(found[1].removeprefix("$labels."), "")
        if found[2] == "printf":
            return found[3] % value
        return FUNCTIONS[found[2]](value)

    return _PLACE.sub(filled, trials_format.found(template, labels, series))


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
