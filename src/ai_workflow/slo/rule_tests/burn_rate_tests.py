"""Rule tests of an SLO: series of good and bad events, and when each burn-rate alert must fire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ai_workflow.slo import burn_rate, durations
from ai_workflow.slo.alert import (
    FOREVER,
    OVER,
    UNDER,
    Counter,
    RuleTest,
    Series,
    case_labels,
    next_evaluation,
    rate_change,
)
from ai_workflow.slo.burn_rate import Rule
from ai_workflow.slo.rule_tests.input_series import EventSource, event_source
from ai_workflow.slo.spec import AlertEntry, Slo, Spec, Window

LOOKBACK_SECONDS = 300  # Prometheus default
NONE = Counter(((FOREVER, 0),))
SHORTEST = durations.seconds(burn_rate.SHORTEST)
EVENTS_PER_SECOND = 100  # in the test of recording rules

# A recorded series: name, value and labels.
Record = tuple[str, float, Mapping[str, str]]


def files(spec: Spec, slo: Slo, rules: list[Rule]) -> Iterator[tuple[str, list[tuple[RuleTest, Rule]]]]:
    """Yield the name of each test file, and its tests with the tested rule."""
    events = event_source(slo)
    if events is None:
        return
    alerts = {(rule.get("alert"), _window(rule)): rule for rule in rules if "alert" in rule}
    for window in slo.windows:
        yield window.name, [(_window_test(spec, slo, window, events), alerts[slo.alert, window.name])]
    if slo.windows:
        yield "for", [(_for_test(slo, window, events), alerts[slo.alert, window.name]) for window in slo.windows]
    if slo.absent:
        yield "absent", [(_absent_test(slo, events), alerts["SLOMetricAbsent", ""])]
    for name in burn_rate.BUDGETS:
        entry = spec.entry(name)
        if entry and (name, "") in alerts:
            yield name, [(_budget_test(spec, slo, events, entry), alerts[name, ""])]


def _window_test(spec: Spec, slo: Slo, window: Window, events: EventSource) -> RuleTest:
    """Return a test with steady error ratios, single errors at low traffic, and two outages.

    Evaluations are rare, because each one evaluates all rules of the SLO. Each check is between the times at which the
    two outages start or stop to fire. An alert must have fired for two evaluations before a check, because promtool may
    lose the first sample of a new series during its daily compaction.
    """
    long, short, for_seconds = (durations.seconds(text) for text in (window.long, window.short, window.for_))
    step = max(1, short // 20)
    every = max(step, long // 16 // step * step)
    begin = next_evaluation(long, every) + every
    fires_at = begin + next_evaluation(for_seconds, every)
    end = fires_at + 4 * every
    limit = float(burn_rate.threshold(spec, slo, window))
    cases = {
        **_steady(events, limit, float(window.min_events), long),
        "sooner": _outage(events, "sooner", window, limit, begin - 2 * step, end - 2 * step),
        "later": _outage(events, "later", window, limit, begin + every + 2 * step, end + 2 * step),
    }
    checks = (
        (fires_at - every, ("above", "enough")),
        (fires_at + every, ("above", "enough", "sooner")),
        (fires_at + 3 * every, ("above", "enough", "sooner", "later")),
        (end, ("above", "enough", "later")),
    )
    firing = tuple((at, dict.fromkeys(names)) for at, names in checks)
    return RuleTest(step, cases, case_labels(events.key, **events.labels), firing, every)


def _steady(events: EventSource, limit: float, min_events: float, long: int) -> dict[str, Series]:
    """Return cases around the limit, and around the minimum of bad events in the long window."""

    def always(case: str, ratio: float, rate: float) -> Series:
        return events.series(case, constant_rate(rate * (1 - ratio)), constant_rate(rate * ratio))

    return {
        "above": always("above", limit * OVER, _high_rate(limit, min_events, long)),
        "below": always("below", limit * UNDER, _high_rate(limit, min_events, long)),
        "enough": always("enough", 1, min_events * OVER / long),
        "few": always("few", 1, min_events * UNDER / long),
    }


def _outage(events: EventSource, case: str, window: Window, limit: float, begins: int, ends: int) -> Series:
    """Return a case above the limit over both windows from `begins`, and over the short one until `ends`."""
    long, short = durations.seconds(window.long), durations.seconds(window.short)
    rate, worst = _high_rate(limit, float(window.min_events), long), min(1.0, 4 * limit)
    first, last = begins - long * limit / worst, ends - short * (1 - limit / worst)
    good = Counter(((first, rate), (last - first, rate * (1 - worst)), (FOREVER, rate)))
    bad = Counter(((first, 0), (last - first, rate * worst), (FOREVER, 0)))
    return events.series(case, good, bad)


def _high_rate(limit: float, min_events: float, long: int) -> float:
    """Return a rate of events at which the minimum of bad events is exceeded by far."""
    return 100 * min_events / limit / long


def _for_test(slo: Slo, window: Window, events: EventSource) -> RuleTest:
    """Return a test in which all events are bad, so that only `for` delays the alert."""
    for_seconds = durations.seconds(window.for_)
    longest = max(durations.seconds(window.for_) for window in slo.windows)
    step = max(5, longest // 30)
    every = max(step, longest // 5 // step * step)
    onset, min_events = 4 * every, float(window.min_events)
    failing = events.series("fails", constant_rate(0), rate_change(onset - step, 0, 100 * min_events / step))
    fires_at = onset + next_evaluation(for_seconds, every)
    return RuleTest(
        step,
        {"fails": failing},
        case_labels(events.key, **events.labels),
        ((fires_at - every, {}), (fires_at, {"fails": None})),
        every,
    )


def text_test(slo: Slo, events: EventSource) -> RuleTest:
    """Return a test of the alert texts, in which all windows fire."""
    window = max(slo.windows, key=lambda window: durations.seconds(window.for_))
    test = _for_test(slo, window, events)
    return replace(test, checks=((test.checks[-1][0], {"fails": 1.0}),))


def _absent_test(slo: Slo, events: EventSource) -> RuleTest:
    """Return a test in which the metric disappears.

    Prometheus returns the last sample for the lookback period.
    """
    for_seconds = durations.seconds(slo.absent)
    step, ends = max(1, for_seconds // 10), 3 * for_seconds
    begins = ends + LOOKBACK_SECONDS + for_seconds
    return RuleTest(
        step,
        {"m": events.series("m", Counter(((ends, 1),)), Counter(((ends, 0),)))},
        lambda _: {},
        ((ends - step, {}), (begins - 2 * step, {}), (begins + 2 * step, {"": 1})),
    )


def _budget_test(spec: Spec, slo: Slo, events: EventSource, entry: AlertEntry) -> RuleTest:
    """Return a test with a remaining budget just below and above the limit, and with too few bad events."""
    limit, min_events = float(entry.parameters["remaining"]), float(entry.parameters["least"])
    for_seconds = durations.seconds(entry.for_)
    step = durations.seconds(spec.evaluation)
    every, ready = 4 * step, 2 * SHORTEST
    end = ready + next_evaluation(for_seconds, every)

    def counted(seconds: int) -> float:
        """Return the recorded number of events at one event per second.

        The first events are in few counts.
        """
        return sum(min(at, SHORTEST) for at in range(0, seconds + 1, every)) * step / SHORTEST

    def steady(case: str, remaining: float, bad: float) -> Series:
        total = bad / (float(slo.budget) * (1 - remaining))
        return events.series(case, constant_rate(total - bad), constant_rate(bad))

    spent, few = min_events * OVER / counted(ready), min_events * UNDER / counted(end)
    return RuleTest(
        step,
        {
            "spent": steady("spent", limit - 0.05, spent),
            "left": steady("left", limit + 0.05, spent),
            "few": steady("few", limit - 0.05, few),
            "fast": steady("fast", limit - 0.05, 1000 * spent),
        },
        case_labels(events.key, **events.labels),
        (
            (for_seconds - 1, {}),
            (for_seconds + 2 * every, {"fast": None}),
            (end, dict.fromkeys(("fast", "spent"), limit - 0.05)),
        ),
        every,
    )


def records(spec: Spec, slo: Slo, events: EventSource) -> tuple[RuleTest, list[Record]]:
    """Return series with half of the allowed bad events, and the recorded values, exact to half a percent.

    The series are longer than all windows and the period, and have more bad events before those. They are evaluated
    twice a day, because promtool drops a series without samples for longer and may lose its first sample.
    """
    step, budget, period = SHORTEST // 2, float(slo.budget), durations.seconds(spec.period)
    every = max(step, period // 61 // step * step)  # not a divisor of the period
    longest = max(period, *(durations.seconds(window) for window in burn_rate.windows(slo)))
    end = (longest // every + 2) * every
    begins, worse = end - longest - step, min(1.0, 4 * budget)
    series = events.series(
        "m",
        rate_change(begins, EVENTS_PER_SECOND * (1 - worse), EVENTS_PER_SECOND * (1 - budget / 2)),
        rate_change(begins, EVENTS_PER_SECOND * worse, EVENTS_PER_SECOND * budget / 2),
    )
    # Few events, and no series of bad events.
    quiet_series = events.series("quiet", constant_rate(1 / 3600), NONE)
    quiet = {name: counter for name, counter in quiet_series.items() if counter != NONE}
    test = RuleTest(step, {"m": series, "quiet": quiet}, case_labels(events.key, **events.labels), ((end, {}),), every)
    own = {**events.labels, "slo": slo.name}
    overlap = (period // every + 1) * durations.seconds(spec.evaluation) / SHORTEST
    return test, list(_recorded(slo, overlap, own | {events.key: "m"}, own | {events.key: "quiet"}))


def _recorded(slo: Slo, overlap: float, own: Mapping[str, str], quiet: Mapping[str, str]) -> Iterator[Record]:
    """Yield the recorded series; `overlap` is the ratio of the summed 5m counts to one 5m count."""
    budget, slo_label = float(slo.budget), {"slo": slo.name}
    bad = EVENTS_PER_SECOND * SHORTEST * budget / 2
    for window in burn_rate.windows(slo):
        yield f"slo:sli_error:ratio_rate{window}", budget / 2, own
        yield f"slo:sli_error:ratio_rate{window}", 0.0, quiet
    for window in sorted(burn_rate.counted(slo), key=durations.seconds):
        yield f"slo:sli_total:increase{window}", float(EVENTS_PER_SECOND * durations.seconds(window)), own
    yield "slo:sli_bad:increase5m", bad, own
    yield "slo:sli_bad:increase5m", 0.0, quiet
    yield "slo:sli_bad:increase_period", bad * overlap, own
    yield "slo:sli_error:ratio_period", budget / 2, own
    yield "slo:sli_error:ratio_period", 0.0, quiet
    yield "slo:error_budget_remaining:ratio", 0.5, own
    yield "slo:objective:ratio", 1 - budget, slo_label
    yield "slo:error_budget:ratio", budget, slo_label


def constant_rate(rate: float) -> Counter:
    """Return a counter with a constant rate."""
    return Counter(((FOREVER, rate),))


def _window(rule: Rule) -> str:
    own = rule["labels"]
    assert isinstance(own, dict)
    return str(own.get("window", ""))
