"""Labels that an alert reads from other series when it fires: trace, stage, version at fault.

They become annotations. As labels they would create a new alert for each run and each request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ai_workflow.slo import promql

_ALERT_LABEL = re.compile(r"\$(\w+)")
_TEMPLATE = re.compile(
    r"\{\{ with query (?:\(printf )?`([^`]*)`([^}]*?)\)? \}\}"
    r'\{\{ \. \| first \| label "(\w+)"(?: \| printf "([^"]*)")? \}\}\{\{ end \}\}'
)
_SUM = re.compile(r"(- )?sum by \(\w+\) \((increase\(.*?\]\))\)")
_COUNTER = re.compile(r"increase\(([^\[]*)\[")
# Growth per sample of the counters in examples; more than the bad events of any rule test.
_LARGEST, _SMALLER, _DECOY = 10**7, 10**6, 10**9


@dataclass(frozen=True, slots=True)
class LargestIncrease:
    """The label value with the largest increase of counters over a window.

    Attributes:
        added: selectors of the counters to add; `$x` is the label x of the alert.
        window: range, such as `5m`.
        subtracted: selectors of the counters to subtract.
        minimum: expression for the minimum increase.
        preferred: selector of the label values whose increase counts twice.
    """

    added: tuple[str, ...]
    window: str
    subtracted: tuple[str, ...] = ()
    minimum: str = ""
    preferred: str = ""

    def expr(self, label: str) -> str:
        """Return the PromQL expression."""
        # `or` inside the sum, because a missing counter must not hide the others.
        parts = (
            f"sum by ({label}) ({' or '.join(f'increase({text}[{self.window}])' for text in selectors)})"
            for selectors in (self.added, self.subtracted)
            if selectors
        )
        growth = " - ".join(parts)
        enough = f"(({growth}) > 0)" + (f" >= {self.minimum}" if self.minimum else "")
        if not self.preferred:
            return f"topk(1, {enough})"
        # The series is missing for a short time while the service restarts.
        preferred = f"{self.preferred} or on () last_over_time({self.preferred}[{self.window}])"
        twice = f"({enough}) * on ({label}) (2 * max by ({label}) ({preferred}))"
        return f"topk(1, {twice} or {enough})"


@dataclass(frozen=True, slots=True)
class LatestSeries:
    """A label of an existing series, or of the series that disappeared last within a window.

    A restarted process may not export the series any more.

    Attributes:
        selector: selector of the series.
        window: range of the alert expression, such as `5m`.
        step: resolution of the range; at most a scrape interval, so that no series is missed.
    """

    selector: str
    window: str
    step: str

    @property
    def expr(self) -> str:
        """The PromQL expression."""
        lost = f"max_over_time(timestamp({self.selector})[{self.window}:{self.step}])"
        return f"{self.selector} or on () topk(1, {lost})"


Lookup = str | LargestIncrease | LatestSeries


@dataclass(frozen=True, slots=True)
class ExampleSeries:
    """A test series: a gauge that is always 1, or a counter that grows by `growth` with each sample."""

    text: str
    growth: int | None = None

    @property
    def selector(self) -> promql.Selector:
        """The metric and its labels."""
        return _only_selector(self.text)


def templates(lookups: Mapping[str, Lookup]) -> dict[str, str]:
    """Return annotation templates that expand to a label of a series, or to an empty text.

    Args:
        lookups: lookups by label name. A text is a selector in which `$x` is the label x of the alert, such as
            `a_info{pipeline=$pipeline}`.
    """
    return {label: template(label, lookup) for label, lookup in lookups.items()}


def template(label: str, lookup: Lookup, text: str = "") -> str:
    """Return the template for a label of a series.

    Args:
        label: name of the label.
        lookup: the series.
        text: format of the value with `%s`; without a series, the result is empty.
    """
    query = _query(label, lookup)
    names = _ALERT_LABEL.findall(query)
    argument = f"`{_ALERT_LABEL.sub('%q', query)}`"
    if names:
        argument = f"(printf {argument} {' '.join(f'$labels.{name}' for name in names)})"
    printf = f' | printf "{text}"' if text else ""
    return f'{{{{ with query {argument} }}}}{{{{ . | first | label "{label}"{printf} }}}}{{{{ end }}}}'


def _query(label: str, lookup: Lookup) -> str:
    match lookup:
        case LargestIncrease():
            return lookup.expr(label)
        case LatestSeries():
            return lookup.expr
        case _:
            return lookup


def expand(text: str, labels: Mapping[str, str], series: Sequence[ExampleSeries]) -> str:
    """Return the text that Prometheus produces for an alert with these labels and series."""

    def expanded(match: re.Match[str]) -> str:
        query, label = _filled(match, labels), match[3]
        value = _largest(query, label, series) if query.startswith("topk(") else _first_value(query, label, series)
        return (match[4] or "%s") % value if value else ""

    return _TEMPLATE.sub(expanded, text)


def examples(texts: Mapping[str, str], labels: Mapping[str, str]) -> list[ExampleSeries]:
    """Return series that the lookups of an alert match, and similar ones that they must not match."""
    gauges: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, str]] = {}
    counters: list[ExampleSeries] = []
    for match in filter(None, map(_TEMPLATE.fullmatch, texts.values())):
        query, label = _filled(match, labels), match[3]
        if query.startswith("topk("):
            counters += _counters(query, label)
            continue
        selector = _first_selector(query)
        gauges.setdefault((selector.metric, _values(selector)), {})[label] = f"found_{label}"
    return [*(ExampleSeries(text) for text in _gauges(gauges)), *counters]


def _first_value(query: str, label: str, series: Sequence[ExampleSeries]) -> str:
    selector = _first_selector(query)
    return next((_labels(example)[label] for example in series if _is_match(selector, example)), "")


def _largest(query: str, label: str, series: Sequence[ExampleSeries]) -> str:
    growth: dict[str, int] = {}
    for is_added, text in _terms(query):
        for example in (example for example in series if _is_match(_only_selector(text), example)):
            value = _labels(example)[label]
            growth[value] = growth.get(value, 0) + (example.growth or 0) * (1 if is_added else -1)
    return max(growth, key=growth.__getitem__, default="")


def _terms(query: str) -> Iterator[tuple[bool, str]]:
    """Yield the counters of a query for the largest increase: whether it is added, and its selector."""
    for subtracted, summed in _SUM.findall(query):
        for text in _COUNTER.findall(summed):
            yield not subtracted, text


def _counters(query: str, label: str) -> Iterator[ExampleSeries]:
    """Yield counters for two values of the label, and faster counters that differ in another label."""
    for is_added, text in _terms(query):
        selector, sign = _only_selector(text), int(is_added)
        own = dict(_values(selector))
        for name, operator, _ in selector.matchers:
            if operator in ("=", "=~"):
                other = _text(selector.metric, {**own, name: "another", label: "decoy"})
                yield ExampleSeries(other, _DECOY * sign)
        yield ExampleSeries(_text(selector.metric, {**own, label: "less"}), _SMALLER * sign)
        yield ExampleSeries(_text(selector.metric, {**own, label: f"found_{label}"}), _LARGEST * sign)


def _gauges(gauges: Mapping[tuple[str, tuple[tuple[str, str], ...]], Mapping[str, str]]) -> Iterator[str]:
    for (metric, matchers), more in gauges.items():
        for index, (name, _) in enumerate(matchers):
            others = {**dict(matchers), name: "another", **dict.fromkeys(more, f"another_{index}")}
            yield _text(metric, others)
        yield _text(metric, {**dict(matchers), **more})


def _values(selector: promql.Selector) -> tuple[tuple[str, str], ...]:
    """Return a matching value for each label of a selector."""
    return tuple(
        (name, value.split("|")[0] if operator in ("=", "=~") else "other")
        for name, operator, value in selector.matchers
    )


def _filled(template: re.Match[str], labels: Mapping[str, str]) -> str:
    names = iter(re.findall(r"\$labels\.(\w+)", template[2]))
    return re.sub("%q", lambda _: f'"{labels.get(next(names), "")}"', template[1])


def _only_selector(text: str) -> promql.Selector:
    (selector,) = promql.selectors(text)
    return selector


def _first_selector(query: str) -> promql.Selector:
    """Return the selector of a gauge, which a query for a latest series repeats."""
    selector, *repeated = promql.selectors(query)
    if any(other != selector for other in repeated):
        raise ValueError(f"the query {query} selects several series. Select one")
    return selector


def _labels(example: ExampleSeries) -> dict[str, str]:
    return {name: value for name, _, value in example.selector.matchers}


def _is_match(selector: promql.Selector, example: ExampleSeries) -> bool:
    labels = _labels(example)
    return example.selector.metric == selector.metric and all(
        _matches(operator, value, labels.get(name, "")) for name, operator, value in selector.matchers
    )


def _matches(operator: str, value: str, actual: str) -> bool:
    is_equal = actual == value if operator in ("=", "!=") else re.fullmatch(value, actual) is not None
    return is_equal is (operator in ("=", "=~"))


def _text(metric: str, labels: Mapping[str, str]) -> str:
    matchers = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{metric}{{{matchers}}}"
