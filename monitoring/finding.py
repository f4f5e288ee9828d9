"""What an alert finds beside its own series when it fires: the trace, stage or version that it is about.

As an annotation: a label would make another alert of each run and each request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from monitoring import promql

_PLACE = re.compile(r"\$(\w+)")
_WRITTEN = re.compile(
    r'\{\{ with query (?:\(printf )?`([^`]*)`([^}]*?)\)? \}\}\{\{ \. \| first \| label "(\w+)" \}\}\{\{ end \}\}'
)


def templates(finds: Mapping[str, str]) -> dict[str, str]:
    """Return annotations that Prometheus fills in with a label of a series; empty where there is none.

    Args:
        finds: for each annotation, which has the name of the label, the selector of the series: `$x` in it is the
            alert's own label x, such as `a_info{pipeline=$pipeline}`.
    """
    return {label: _template(label, selector) for label, selector in finds.items()}


def found(text: str, labels: Mapping[str, str], series: Sequence[str]) -> str:
    """Return a text as Prometheus fills it in for an alert with these labels, when it has just these series."""

    def filled(place: re.Match[str]) -> str:
        wanted = _selector(place, labels)
        for one in map(_only, series):
            held = {name: value for name, _, value in one.matchers}
            if one.metric == wanted.metric and all(
                _fits(how, value, held.get(name, "")) for name, how, value in wanted.matchers
            ):
                return held[place[3]]
        return ""

    return _WRITTEN.sub(filled, text)


def examples(texts: Mapping[str, str], labels: Mapping[str, str]) -> list[str]:
    """Return series in which the annotations of an alert find something, and before each one that must not be found."""
    held: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, str]] = {}
    for place in filter(None, map(_WRITTEN.fullmatch, texts.values())):
        wanted = _selector(place, labels)
        matchers = tuple((name, value.split("|")[0]) for name, _, value in wanted.matchers)
        held.setdefault((wanted.metric, matchers), {})[place[3]] = f"found_{place[3]}"
    series = []
    for (metric, matchers), more in held.items():
        for index, (name, _) in enumerate(matchers):
            others = {**dict(matchers), name: "another", **dict.fromkeys(more, f"another_{index}")}
            series.append(_text(metric, others))
        series.append(_text(metric, {**dict(matchers), **more}))
    return series


def _template(label: str, selector: str) -> str:
    names = _PLACE.findall(selector)
    query = f"`{_PLACE.sub('%q', selector)}`"
    if names:
        query = f"(printf {query} {' '.join(f'$labels.{name}' for name in names)})"
    return f'{{{{ with query {query} }}}}{{{{ . | first | label "{label}" }}}}{{{{ end }}}}'


def _selector(place: re.Match[str], labels: Mapping[str, str]) -> promql.Selector:
    names = iter(re.findall(r"\$labels\.(\w+)", place[2]))
    return _only(re.sub("%q", lambda _: f'"{labels.get(next(names), "")}"', place[1]))


def _only(text: str) -> promql.Selector:
    (selector,) = promql.selectors(text)
    return selector


def _fits(how: str, value: str, held: str) -> bool:
    return held == value if how == "=" else re.fullmatch(value, held) is not None


def _text(metric: str, labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{metric}{{{inside}}}"
