"""Labels that an alert reads from other series when it fires: the trace, the stage, the version at fault.

They are annotations: as labels they would make another alert of each run and each request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ai_workflow.slo import promql

_PLACE = re.compile(r"\$(\w+)")
_WRITTEN = re.compile(
    r"\{\{ with query (?:\(printf )?`([^`]*)`([^}]*?)\)? \}\}"
    r'\{\{ \. \| first \| label "(\w+)"(?: \| printf "([^"]*)")? \}\}\{\{ end \}\}'
)
_SUM = re.compile(r"(- )?sum by \(\w+\) \((increase\(.*?\]\))\)")
_COUNTER = re.compile(r"increase\(([^\[]*)\[")
# Growth per sample of the counters in examples: more than the bad events of any trial.
_MOST, _LESS, _DECOY = 10**7, 10**6, 10**9


@dataclass(frozen=True, slots=True)
class Most:
    """The value of a label for which counters grew most over a window.

    Attributes:
        added: selectors of the counters that are added up; `$x` is the alert's own label x.
        window: the range, such as `5m`.
        subtracted: selectors of the counters that are subtracted.
        least: an expression; nothing is found where the growth is below it.
        preferred: a selector; values of the label that it has count twice.
    """

    added: tuple[str, ...]
    window: str
    subtracted: tuple[str, ...] = ()
    least: str = ""
    preferred: str = ""

    def expr(self, label: str) -> str:
        """Return the PromQL expression."""
        # A join, not a sum of sums: a counter that a service does not have must not hide the others.
        parts = (
            f"sum by ({label}) ({' or '.join(f'increase({text}[{self.window}])' for text in selectors)})"
            for selectors in (self.added, self.subtracted)
            if selectors
        )
        growth = " - ".join(parts)
        enough = f"(({growth}) > 0)" + (f" >= {self.least}" if self.least else "")
        if not self.preferred:
            return f"topk(1, {enough})"
        # A service that restarts has no such series for a moment.
        preferred = f"{self.preferred} or on () last_over_time({self.preferred}[{self.window}])"
        twice = f"({enough}) * on ({label}) (2 * max by ({label}) ({preferred}))"
        return f"topk(1, {twice} or {enough})"


@dataclass(frozen=True, slots=True)
class Recent:
    """A label of a series that a restarted process may not have any more.

    A series that exists wins; without one, the series that disappeared last within the window.

    Attributes:
        selector: the series.
        window: the range, such as `5m`: that of the expression of the alert.
        step: the resolution of the range; a scrape interval misses no series.
    """

    selector: str
    window: str
    step: str

    @property
    def expr(self) -> str:
        """The PromQL expression."""
        lost = f"max_over_time(timestamp({self.selector})[{self.window}:{self.step}])"
        return f"{self.selector} or on () topk(1, {lost})"


Find = str | Most | Recent


@dataclass(frozen=True, slots=True)
class Example:
    """A series of a test: a gauge that is always 1, or a counter that grows by `growth` with each sample."""

    text: str
    growth: int | None = None

    @property
    def selector(self) -> promql.Selector:
        """The metric and its labels."""
        return _only(self.text)


def templates(finds: Mapping[str, Find]) -> dict[str, str]:
    """Return annotations that Prometheus fills in with a label of a series; empty where there is none.

    Args:
        finds: for each annotation, which has the name of the label, the selector of the series: `$x` in it is the
            alert's own label x, such as `a_info{pipeline=$pipeline}`; or a recent series; or the counter that grew
            most.
    """
    return {label: template(label, find) for label, find in finds.items()}


def template(label: str, find: Find, text: str = "") -> str:
    """Return the template for a label of a series.

    Args:
        label: its name.
        find: which series.
        text: written around the label, with `%s` for it; nothing is written where no series is found.
    """
    query = _query(label, find)
    names = _PLACE.findall(query)
    written = f"`{_PLACE.sub('%q', query)}`"
    if names:
        written = f"(printf {written} {' '.join(f'$labels.{name}' for name in names)})"
    around = f' | printf "{text}"' if text else ""
    return f'{{{{ with query {written} }}}}{{{{ . | first | label "{label}"{around} }}}}{{{{ end }}}}'


def _query(label: str, find: Find) -> str:
    match find:
        case Most():
            return find.expr(label)
        case Recent():
            return find.expr
        case _:
            return find


def found(text: str, labels: Mapping[str, str], series: Sequence[Example]) -> str:
    """Return a text as Prometheus fills it in for an alert with these labels, when it has just these series."""

    def filled(place: re.Match[str]) -> str:
        query = _filled(place, labels)
        value = _grown_most(query, place[3], series) if query.startswith("topk(") else _held(query, place[3], series)
        return (place[4] or "%s") % value if value else ""

    return _WRITTEN.sub(filled, text)


def examples(texts: Mapping[str, str], labels: Mapping[str, str]) -> list[Example]:
    """Return series in which the annotations of an alert find something, and before each one that must not be found."""
    gauges: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, str]] = {}
    counters: list[Example] = []
    for place in filter(None, map(_WRITTEN.fullmatch, texts.values())):
        query = _filled(place, labels)
        if query.startswith("topk("):
            counters += _counters(query, place[3])
            continue
        wanted = _first(query)
        gauges.setdefault((wanted.metric, _values(wanted)), {})[place[3]] = f"found_{place[3]}"
    return [*(Example(text) for text in _gauges(gauges)), *counters]


def _held(query: str, label: str, series: Sequence[Example]) -> str:
    wanted = _first(query)
    return next((_labels(one)[label] for one in series if _fits(wanted, one)), "")


def _grown_most(query: str, label: str, series: Sequence[Example]) -> str:
    growth: dict[str, int] = {}
    for grows, text in _terms(query):
        for one in (one for one in series if _fits(_only(text), one)):
            value = _labels(one)[label]
            growth[value] = growth.get(value, 0) + (one.growth or 0) * (1 if grows else -1)
    return max(growth, key=growth.__getitem__, default="")


def _terms(query: str) -> Iterator[tuple[bool, str]]:
    """Yield the counters of a query for the most: whether it is added, and its selector."""
    for subtracted, summed in _SUM.findall(query):
        for text in _COUNTER.findall(summed):
            yield not subtracted, text


def _counters(query: str, label: str) -> Iterator[Example]:
    """Yield counters of two values of the label, and faster ones that differ in one of the other labels."""
    for grows, text in _terms(query):
        wanted = _only(text)
        own = dict(_values(wanted))
        for name, how, _ in wanted.matchers:
            if how in ("=", "=~"):
                yield Example(_text(wanted.metric, {**own, name: "another", label: "decoy"}), _DECOY if grows else 0)
        yield Example(_text(wanted.metric, {**own, label: "less"}), _LESS if grows else 0)
        yield Example(_text(wanted.metric, {**own, label: f"found_{label}"}), _MOST if grows else 0)


def _gauges(held: Mapping[tuple[str, tuple[tuple[str, str], ...]], Mapping[str, str]]) -> Iterator[str]:
    for (metric, matchers), more in held.items():
        for index, (name, _) in enumerate(matchers):
            others = {**dict(matchers), name: "another", **dict.fromkeys(more, f"another_{index}")}
            yield _text(metric, others)
        yield _text(metric, {**dict(matchers), **more})


def _values(selector: promql.Selector) -> tuple[tuple[str, str], ...]:
    """Return a value for each label that a selector asks for; a label that it excludes has a value of its own."""
    return tuple(
        (name, value.split("|")[0] if how in ("=", "=~") else "other") for name, how, value in selector.matchers
    )


def _filled(place: re.Match[str], labels: Mapping[str, str]) -> str:
    names = iter(re.findall(r"\$labels\.(\w+)", place[2]))
    return re.sub("%q", lambda _: f'"{labels.get(next(names), "")}"', place[1])


def _only(text: str) -> promql.Selector:
    (selector,) = promql.selectors(text)
    return selector


def _first(query: str) -> promql.Selector:
    """Return the selector of a gauge; a query for a recent series repeats it."""
    wanted, *repeated = promql.selectors(query)
    if any(one != wanted for one in repeated):
        raise ValueError(f"the query {query} selects several series. Select one")
    return wanted


def _labels(example: Example) -> dict[str, str]:
    return {name: value for name, _, value in example.selector.matchers}


def _fits(wanted: promql.Selector, example: Example) -> bool:
    held = _labels(example)
    return example.selector.metric == wanted.metric and all(
        _matches(how, value, held.get(name, "")) for name, how, value in wanted.matchers
    )


def _matches(how: str, value: str, held: str) -> bool:
    is_equal = held == value if how in ("=", "!=") else re.fullmatch(value, held) is not None
    return is_equal is (how in ("=", "=~"))


def _text(metric: str, labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{metric}{{{inside}}}"
