"""How a promise's rules are tried: series of good and bad events, and when which pair must fire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ai_workflow.slo import burn_rate, durations
from ai_workflow.slo.alert import END, OVER, UNDER, Counter, Series, Trial, evaluated, grown, labels
from ai_workflow.slo.burn_rate import Rule
from ai_workflow.slo.rule_tests.input_series import Source, source
from ai_workflow.slo.spec import Slo, Spec, Window

LOOKBACK = 300  # Prometheus' default
NONE = Counter(((END, 0),))
SHORTEST = durations.seconds(burn_rate.SHORTEST)
PER_SECOND = 100  # events, where records are tried

# What is recorded of a promise: name, value and labels.
Record = tuple[str, float, Mapping[str, str]]


def files(spec: Spec, slo: Slo, rules: list[Rule]) -> Iterator[tuple[str, list[tuple[Trial, Rule]]]]:
    """Yield a name, and trials with the rule that each of them tries."""
    found = source(slo)
    if found is None:
        return
    told = {(rule.get("alert"), _window(rule)): rule for rule in rules if "alert" in rule}
    for window in slo.windows:
        yield window.name, [(_pair(spec, slo, window, found), told[slo.alert, window.name])]
    if slo.windows:
        yield "hold", [(_hold(slo, window, found), told[slo.alert, window.name]) for window in slo.windows]
    if slo.absent:
        yield "absent", [(_absent(slo, found), told["SLOMetricAbsent", ""])]
    for name in burn_rate.BUDGETS:
        entry = spec.entry(name)
        if entry and (name, "") in told:
            limit, least = float(entry.numbers["remaining"]), float(entry.numbers["least"])
            yield name, [(_budget(spec, slo, found, limit, least, durations.seconds(entry.hold)), told[name, ""])]


def _pair(spec: Spec, slo: Slo, window: Window, found: Source) -> Trial:
    """Steady error ratios, single errors on a quiet service, and two outages.

    All rules of a promise are evaluated, so the evaluations are few: soon enough for the sooner outage to be told and
    not for the later one, and likewise at their ends. Who must fire has done so for two of them: promtool may lose the
    first sample of a new series while it compacts, as it does once a day of the trial's time.
    """
    long, short, hold = (durations.seconds(text) for text in (window.long, window.short, window.hold))
    step = max(1, short // 20)
    every = max(step, long // 16 // step * step)
    begin = evaluated(long, every) + every
    told = begin + evaluated(hold, every)
    end = told + 4 * every
    limit = float(burn_rate.threshold(spec, slo, window))
    cases = {
        **_steady(found, limit, float(window.least), long),
        "sooner": _outage(found, "sooner", window, limit, begin - 2 * step, end - 2 * step),
        "later": _outage(found, "later", window, limit, begin + every + 2 * step, end + 2 * step),
    }
    checks = (
        (told - every, ("above", "enough")),
        (told + every, ("above", "enough", "sooner")),
        (told + 3 * every, ("above", "enough", "sooner", "later")),
        (end, ("above", "enough", "later")),
    )
    firing = tuple((at, dict.fromkeys(names)) for at, names in checks)
    return Trial(step, cases, labels(found.key, **found.bears), firing, every)


def _steady(found: Source, limit: float, least: float, long: int) -> dict[str, Series]:
    """Just above the limit and just below it; just enough bad events within the long window, and just too few."""

    def always(case: str, ratio: float, rate: float) -> Series:
        return found.series(case, fixed_rate(rate * (1 - ratio)), fixed_rate(rate * ratio))

    return {
        "above": always("above", limit * OVER, _plenty(limit, least, long)),
        "below": always("below", limit * UNDER, _plenty(limit, least, long)),
        "enough": always("enough", 1, least * OVER / long),
        "few": always("few", 1, least * UNDER / long),
    }


def _outage(found: Source, case: str, window: Window, limit: float, begins: int, ends: int) -> Series:
    """Bad over both windows from `begins` on, and over the short one until `ends`."""
    long, short = durations.seconds(window.long), durations.seconds(window.short)
    rate, worst = _plenty(limit, float(window.least), long), min(1.0, 4 * limit)
    first, last = begins - long * limit / worst, ends - short * (1 - limit / worst)
    good = Counter(((first, rate), (last - first, rate * (1 - worst)), (END, rate)))
    bad = Counter(((first, 0), (last - first, rate * worst), (END, 0)))
    return found.series(case, good, bad)


def _plenty(limit: float, least: float, long: int) -> float:
    """So many events per second that enough of them are bad by far."""
    return 100 * least / limit / long


def _hold(slo: Slo, window: Window, found: Source) -> Trial:
    """Everything fails from the first event on: only `for` delays the alert."""
    hold, longest = durations.seconds(window.hold), max(durations.seconds(window.hold) for window in slo.windows)
    step = max(5, longest // 30)
    every = max(step, longest // 5 // step * step)
    onset, least = 4 * every, float(window.least)
    failing = found.series("fails", fixed_rate(0), grown(onset - step, 0, 100 * least / step))
    told = onset + evaluated(hold, every)
    return Trial(
        step,
        {"fails": failing},
        labels(found.key, **found.bears),
        ((told - every, {}), (told, {"fails": None})),
        every,
    )


def everything(slo: Slo, found: Source) -> Trial:
    """Return a trial in which all pairs fire, for their texts."""
    longest = max((window.hold for window in slo.windows), key=durations.seconds)
    trial = _hold(slo, next(window for window in slo.windows if window.hold == longest), found)
    return Trial(trial.step, trial.cases, trial.labels, ((trial.checks[-1][0], {"fails": 1.0}),), trial.every)


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
    every, ready = 4 * step, 2 * SHORTEST
    end = ready + evaluated(hold, every)

    def counted(seconds: int) -> float:
        """Of one event per second, how many the rules have counted by then: the first ones are in few counts only."""
        return sum(min(at, SHORTEST) for at in range(0, seconds + 1, every)) * step / SHORTEST

    def steady(case: str, remaining: float, bad: float) -> Series:
        events = bad / (float(slo.budget) * (1 - remaining))
        return found.series(case, fixed_rate(events - bad), fixed_rate(bad))

    spent, few = least * OVER / counted(ready), least * UNDER / counted(end)
    return Trial(
        step,
        {
            "spent": steady("spent", limit - 0.05, spent),
            "left": steady("left", limit + 0.05, spent),
            "few": steady("few", limit - 0.05, few),
            "fast": steady("fast", limit - 0.05, 1000 * spent),
        },
        labels(found.key, **found.bears),
        ((hold - 1, {}), (hold + 2 * every, {"fast": None}), (end, dict.fromkeys(("fast", "spent"), limit - 0.05))),
        every,
    )


def records(spec: Spec, slo: Slo, found: Source) -> tuple[Trial, list[Record]]:
    """Return series of which half a budget is bad, and what is recorded of them, to half a percent.

    They are longer than the longest window and than the period, and before those they were worse. They are evaluated
    twice a day: promtool forgets a series that has no sample for longer, and may lose the first one of a new series.
    """
    step, budget, period = SHORTEST // 2, float(slo.budget), durations.seconds(spec.period)
    every = max(step, period // 61 // step * step)  # no whole number of them is a period
    longest = max(period, *(durations.seconds(window) for window in burn_rate.windows(slo)))
    end = (longest // every + 2) * every
    begins, worse = end - longest - step, min(1.0, 4 * budget)
    series = found.series(
        "m",
        grown(begins, PER_SECOND * (1 - worse), PER_SECOND * (1 - budget / 2)),
        grown(begins, PER_SECOND * worse, PER_SECOND * budget / 2),
    )
    # Hardly any event, none of them bad, and no series of bad ones.
    quiet = {name: line for name, line in found.series("quiet", fixed_rate(1 / 3600), NONE).items() if line != NONE}
    trial = Trial(step, {"m": series, "quiet": quiet}, labels(found.key, **found.bears), ((end, {}),), every)
    own = {**found.bears, "slo": slo.name}
    counts = (period // every + 1) * durations.seconds(spec.evaluation) / SHORTEST
    return trial, list(_recorded(slo, counts, own | {found.key: "m"}, own | {found.key: "quiet"}))


def _recorded(slo: Slo, counts: float, own: Mapping[str, str], none: Mapping[str, str]) -> Iterator[Record]:
    """Yield the records of the series; `counts` are as many counts of 5m as the period has evaluations."""
    budget, alone = float(slo.budget), {"slo": slo.name}
    bad = PER_SECOND * SHORTEST * budget / 2
    for window in burn_rate.windows(slo):
        yield f"slo:sli_error:ratio_rate{window}", budget / 2, own
        yield f"slo:sli_error:ratio_rate{window}", 0.0, none
    for window in sorted(burn_rate.counted(slo), key=durations.seconds):
        yield f"slo:sli_total:increase{window}", float(PER_SECOND * durations.seconds(window)), own
    yield "slo:sli_bad:increase5m", bad, own
    yield "slo:sli_bad:increase5m", 0.0, none
    yield "slo:sli_bad:increase_period", bad * counts, own
    yield "slo:sli_error:ratio_period", budget / 2, own
    yield "slo:sli_error:ratio_period", 0.0, none
    yield "slo:error_budget_remaining:ratio", 0.5, own
    yield "slo:objective:ratio", 1 - budget, alone
    yield "slo:error_budget:ratio", budget, alone


def fixed_rate(rate: float) -> Counter:
    """Return a counter that always grows alike."""
    return Counter(((END, rate),))


def _window(rule: Rule) -> str:
    own = rule["labels"]
    assert isinstance(own, dict)
    return str(own.get("window", ""))
