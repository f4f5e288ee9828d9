"""How a promise's rules are tried: series of good and bad events, and when which pair must fire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from monitoring import burn, durations, promql
from monitoring.alerts.base import END, OVER, UNDER, Counter, Series, Trial, grown, labels
from monitoring.burn import Rule
from monitoring.spec import Slo, Spec, Window

HOUR = 3600
LOOKBACK = 300  # Prometheus' default
NONE = Counter(((END, 0),))
_BESIDE = "beside"  # the value of a label that tells good events from bad ones


@dataclass(frozen=True, slots=True)
class Source:
    """Where events come from: for each kind of event, the series that it counts in. `{}` is for the case."""

    good: tuple[str, ...]
    bad: tuple[str, ...]
    key: str
    bears: Mapping[str, str]

    def series(self, case: str, good: Counter, bad: Counter) -> Series:
        """Return the series of one case."""
        both = dict.fromkeys((*self.good, *self.bad))
        found: dict[str, Counter] = {}
        for name in both:
            parts = [line for names, line in ((self.good, good), (self.bad, bad)) if name in names]
            found[name.replace("<case>", case)] = parts[0] if len(parts) == 1 else _sum(*parts)
        return found


def source(slo: Slo) -> Source | None:
    """Return where the events of a promise come from; None where its queries are too involved to tell."""
    by = promql.grouping(slo.total_query)
    key = next((label for label in reversed(by) if label != "job"), "")
    if not key or slo.raw:
        return None
    bears = {label: "x" for label in by if label != key}
    same = {**bears, key: "<case>"}
    total, *_ = promql.selectors(slo.total_query)
    if slo.kind == "latency":
        name, bound = total.metric, promql.selectors(slo.error_query)[-1]
        bucket = _series(bound.metric, {**same, "le": {label: value for label, _, value in bound.matchers}["le"]})
        return Source((_series(name, same), bucket), (_series(name, same),), key, bears)
    if slo.kind == "accuracy":
        right = promql.selectors(slo.error_query)[-1].metric
        return Source((_series(total.metric, same), _series(right, same)), (_series(total.metric, same),), key, bears)
    return _of_events(slo, total, same, key, bears)


def _of_events(
    slo: Slo, total: promql.Selector, same: dict[str, str], key: str, bears: Mapping[str, str]
) -> Source | None:
    errors = promql.selectors(slo.error_query)
    if len(errors) != 1 or any(how in ("!=", "!~") for _, how, _ in (*errors[0].matchers, *total.matchers)):
        return None
    bad_labels = {label: value.strip("()").split("|")[0] for label, _, value in errors[0].matchers}
    all_labels = {label: value.strip("()").split("|")[0] for label, _, value in total.matchers}
    kept = {**same, **all_labels}
    if errors[0].metric == total.metric:
        beside = {label: _BESIDE for label in bad_labels if label not in all_labels}
        return Source((_series(total.metric, kept | beside),), (_series(total.metric, kept | bad_labels),), key, bears)
    in_total = _series(total.metric, kept)
    return Source((in_total,), (in_total, _series(errors[0].metric, {**same, **bad_labels})), key, bears)


def files(spec: Spec, slo: Slo, rules: list[Rule]) -> Iterator[tuple[str, int, list[tuple[Trial, Rule]]]]:
    """Yield a name, a step and trials with the rule that each of them tries."""
    found = source(slo)
    if found is None:
        return
    told = {(rule.get("alert"), _window(rule)): rule for rule in rules if "alert" in rule}
    for window in slo.windows:
        rule = told[slo.alert, window.name]
        trial = _pair(spec, slo, window, found)
        yield window.name, trial.step, [(trial, rule)]
    if slo.windows:
        trials = [(_hold(slo, window, found), told[slo.alert, window.name]) for window in slo.windows]
        yield "hold", trials[0][0].step, trials
    if slo.absent:
        trial = _absent(slo, found)
        yield "absent", trial.step, [(trial, told["SLOMetricAbsent", ""])]
    for name in burn.BUDGETS:
        entry = spec.entry(name)
        if entry and (name, "") in told:
            limit, least = float(entry.numbers["remaining"]), float(entry.numbers["least"])
            trial = _budget(spec, slo, found, limit, least, durations.seconds(entry.hold))
            yield name, trial.step, [(trial, told[name, ""])]


def _pair(spec: Spec, slo: Slo, window: Window, found: Source) -> Trial:
    """Steady error ratios, single errors on a quiet service, and an outage that begins and ends."""
    long, short, hold = (durations.seconds(text) for text in (window.long, window.short, window.hold))
    limit, least = float(burn.threshold(spec, slo, window)), float(window.least)
    # Not longer than the half of what `for` and the short window take, so that those are seen.
    step = max(1, short // 10)
    worst = min(1.0, 4 * limit)
    rate = 100 * least / limit / long  # of all events: enough of them are bad by far
    end = long + long // 2
    begins, ends = long + long * limit / worst + hold, end + short * (1 - limit / worst)

    def steady(case: str, ratio: float, rate: float) -> Series:
        return found.series(case, Counter(((END, rate * (1 - ratio)),)), Counter(((END, rate * ratio),)))

    outage = found.series(
        "outage",
        Counter(((long, rate), (end - long, rate * (1 - worst)), (END, rate))),
        Counter(((long, 0), (end - long, rate * worst), (END, 0))),
    )
    lasting = dict.fromkeys(("above", "enough"))
    return Trial(
        step,
        {
            "above": steady("above", limit * OVER, rate),
            "below": steady("below", limit * UNDER, rate),
            "enough": steady("enough", 1, least * OVER / long),
            "few": steady("few", 1, least * UNDER / long),
            "outage": outage,
        },
        labels(found.key, **found.bears),
        (
            (begins - 2 * step, lasting),
            (begins + 2 * step, {**lasting, "outage": None}),
            (ends - 2 * step, {**lasting, "outage": None}),
            (ends + 2 * step, lasting),
        ),
    )


def _hold(slo: Slo, window: Window, found: Source) -> Trial:
    """Everything fails from the first event on: only `for` delays the alert."""
    hold, longest = durations.seconds(window.hold), max(durations.seconds(window.hold) for window in slo.windows)
    step = max(5, longest // 30)
    onset, least = 20 * step, float(window.least)
    failing = found.series("fails", fixed_rate(0), grown(onset, 0, 100 * least / step))
    return Trial(
        step,
        {"fails": failing},
        labels(found.key, **found.bears),
        ((onset + hold - step, {}), (onset + hold + 2 * step, {"fails": None})),
    )


def everything(slo: Slo, found: Source) -> Trial:
    """Return a trial in which all pairs fire, for their texts."""
    longest = max((window.hold for window in slo.windows), key=durations.seconds)
    trial = _hold(slo, next(window for window in slo.windows if window.hold == longest), found)
    return Trial(trial.step, trial.cases, trial.labels, ((trial.checks[-1][0], {"fails": 1.0}),))


def _absent(slo: Slo, found: Source) -> Trial:
    """The metric is there, and then it is not; Prometheus believes in a last sample for a while."""
    hold = durations.seconds(slo.absent)
    step, ends = max(1, hold // 10), 3 * hold
    begins = ends + LOOKBACK + hold
    return Trial(
        step,
        {"m": found.series("m", Counter(((ends, 1),)), Counter(((ends, 0),)))},
        lambda _: {},
        ((ends - step, {}), (begins - 2 * step, {}), (begins + 2 * step, {"": 1})),
    )


def _budget(spec: Spec, slo: Slo, found: Source, limit: float, least: float, hold: int) -> Trial:
    """Budgets just used up to the limit, and just not; and used up by hardly any events."""
    step = durations.seconds(spec.evaluation)
    end = 3600 + hold
    rate = 10 * least / float(slo.budget) / end

    def steady(case: str, remaining: float, rate: float) -> Series:
        ratio = float(slo.budget) * (1 - remaining)
        return found.series(case, fixed_rate(rate * (1 - ratio)), fixed_rate(rate * ratio))

    few = least / (float(slo.budget) * (1 - limit) * OVER) / end
    return Trial(
        step,
        {
            "spent": steady("spent", limit - 0.05, rate),
            "left": steady("left", limit + 0.05, rate),
            "few": steady("few", limit - 0.05, few * UNDER * 0.9),
            "fast": steady("fast", limit - 0.05, 1000 * rate),
        },
        labels(found.key, **found.bears),
        ((hold - step, {}), (hold + 4 * step, {"fast": None}), (end, dict.fromkeys(("fast", "spent"), limit - 0.05))),
    )


def records(spec: Spec, slo: Slo, found: Source) -> tuple[Trial, list[tuple[str, float, Mapping[str, str]]]]:
    """Return series of which half a budget is bad, and what is recorded of them after an hour, to a thousandth."""
    step, budget = durations.seconds(spec.evaluation), float(slo.budget)
    ratio, per_second = budget / 2, 100
    series = found.series("m", fixed_rate(per_second * (1 - ratio)), fixed_rate(per_second * ratio))
    # Hardly any event, none of them bad, and no series of bad ones.
    quiet = {name: line for name, line in found.series("quiet", fixed_rate(1 / HOUR), NONE).items() if line != NONE}
    own, alone = {**found.bears, found.key: "m", "slo": slo.name}, {"slo": slo.name}
    expected: list[tuple[str, float, Mapping[str, str]]] = [
        *((f"slo:sli_error:ratio_rate{window}", ratio, own) for window in burn.windows(slo)),
        *((f"slo:sli_total:increase{window}", per_second * _seen(window), own) for window in sorted(burn.counted(slo))),
        *((f"slo:sli_error:ratio_rate{window}", 0.0, own | {found.key: "quiet"}) for window in burn.windows(slo)),
        ("slo:sli_error:ratio_period", 0.0, own | {found.key: "quiet"}),
        ("slo:sli_bad:increase5m", per_second * 300 * ratio, own),
        ("slo:sli_error:ratio_period", ratio, own),
        ("slo:error_budget_remaining:ratio", 0.5, own),
        ("slo:objective:ratio", 1 - budget, alone),
        ("slo:error_budget:ratio", budget, alone),
    ]
    return Trial(step, {"m": series, "quiet": quiet}, labels(found.key, **found.bears), ((HOUR, {}),)), expected


def _seen(window: str) -> int:
    """The seconds of a window that an hour of data fills: Prometheus adds at most half a step at its beginning."""
    return min(durations.seconds(window), HOUR)


def fixed_rate(rate: float) -> Counter:
    """Return a counter that always grows alike."""
    return Counter(((END, rate),))


def _series(name: str, own: Mapping[str, str]) -> str:
    inside = ",".join(f'{key}="{value}"' for key, value in own.items())
    return f"{name}{{{inside}}}"


def _sum(first: Counter, second: Counter) -> Counter:
    """Two counters with pieces of the same lengths, as one."""
    pairs = zip(first.pieces, second.pieces, strict=False)
    if len(first.pieces) == len(second.pieces):
        return Counter(tuple((one[0], one[1] + two[1]) for one, two in pairs))
    longer, shorter = sorted((first, second), key=lambda line: -len(line.pieces))
    return Counter(tuple((seconds, growth + shorter.pieces[0][1]) for seconds, growth in longer.pieces))


def _window(rule: Rule) -> str:
    own = rule["labels"]
    assert isinstance(own, dict)
    return str(own.get("window", ""))
