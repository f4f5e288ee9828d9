"""Trials -> promtool's unit tests: one file for each alert, or for each pair of windows of a promise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from ai_workflow.slo import definitions, rules, trials_format
from ai_workflow.slo.alert import Counter, Gauge, Trial, numbers
from ai_workflow.slo.burn_rate import Rule
from ai_workflow.slo.rule_tests import burn_trials, input_series
from ai_workflow.slo.rule_tests.rendering import render
from ai_workflow.slo.spec import BUDGETED, Spec

Test = dict[str, object]


def files(spec: Spec, groups: Mapping[str, list[Rule]]) -> Iterator[tuple[str, Test]]:
    """Yield each test file by its name; it reads the rules of its own group from `../rules/`."""
    for entry in spec.entries:
        alert = definitions.find_alert(entry.name)
        if alert:
            trial = alert.trial(numbers(entry, rules.promise(spec, entry), spec.keep))
            rule = next(rule for rule in groups[alert.group] if rule["alert"] == entry.name)
            yield entry.name, _file(alert.group, trial.every, [_test(trial, rule), _nothing(trial, rule)])
    for slo in spec.slos:
        group = f"slo-{slo.name}"
        for name, tests in burn_trials.files(spec, slo, groups.get(group, [])):
            yield f"{slo.name}-{name}", _file(group, tests[0][0].every, [_test(trial, rule) for trial, rule in tests])
        if slo.kind in BUDGETED and (found := input_series.source(slo)):
            trial, expected = burn_trials.records(spec, slo, found)
            yield f"{slo.name}-records", _file(group, trial.every, [_records(trial, expected)])
            if slo.windows:
                trial = burn_trials.everything(slo, found)
                pairs = [rule for rule in groups[group] if rule.get("alert") == slo.alert]
                yield f"{slo.name}-texts", _file(group, trial.every, [_texts(trial, pairs), _nothing(trial, pairs[0])])


def _file(group: str, every: int, tests: Sequence[Test]) -> Test:
    return {"rule_files": [f"../rules/{group}.yaml"], "evaluation_interval": f"{every}s", "tests": list(tests)}


def _test(trial: Trial, rule: Rule) -> Test:
    end = max(at for at, _ in trial.checks)
    checks = [(_on_step(at, trial.every), firing) for at, firing in trial.checks]
    found: Test = {
        "name": str(rule["alert"]),
        "interval": f"{trial.step}s",
        "input_series": [*_input(trial, end), *_constant(trial, rule, end)],
    }
    shares = "window" in labels_of(rule)  # its name, with the other pairs of its promise
    told = [(at, firing) for at, firing in checks if not shares and None not in firing.values()]
    if told:
        found["alert_rule_test"] = [
            {
                "eval_time": f"{at}s",
                "alertname": rule["alert"],
                **(
                    {"exp_alerts": [_told(trial, rule, case, value) for case, value in firing.items()]}
                    if firing
                    else {}
                ),
            }
            for at, firing in told
        ]
    if timed := [(at, firing) for at, firing in checks if shares or None in firing.values()]:
        found["promql_expr_test"] = [_fires(trial, rule, at, firing) for at, firing in timed]
    return found


def _nothing(trial: Trial, rule: Rule) -> Test:
    """Without data an alert is silent, but for the one that always fires."""
    always = rule["expr"] == "vector(1)"
    check = {"eval_time": f"{10 * trial.every}s", "alertname": rule["alert"]}
    told = {"exp_alerts": [_told(trial, rule, "", 1)]} if always else {}
    return {"name": "no data", "interval": f"{trial.step}s", "input_series": [], "alert_rule_test": [check | told]}


def _texts(trial: Trial, pairs: Sequence[Rule]) -> Test:
    """All pairs at once: promtool compares every alert of a name."""
    tried, ((at, firing),) = _test(trial, pairs[0]), trial.checks
    told = [_told(trial, rule, case, value) for rule in pairs for case, value in firing.items()]
    check = {"eval_time": f"{_on_step(at, trial.every)}s", "alertname": pairs[0]["alert"], "exp_alerts": told}
    return {**tried, "alert_rule_test": [check]}


def _records(trial: Trial, expected: Sequence[tuple[str, float, Mapping[str, str]]]) -> Test:
    ((at, _),) = trial.checks
    return {
        "name": "records",
        "interval": f"{trial.step}s",
        "input_series": _input(trial, at),
        "promql_expr_test": [
            {
                "expr": f"abs({name}{{{_inside(of)}}} - {value:.10g}) <= bool {value * 0.005:.10g}",
                "eval_time": f"{_on_step(at, trial.every)}s",
                "exp_samples": [{"labels": "{" + _inside(of) + "}", "value": 1}],
            }
            for name, value, of in expected
        ],
    }


def _input(trial: Trial, end: float) -> list[Test]:
    count = math.ceil(end / trial.step) + 1
    return [
        {"series": series, "values": values(line, trial.step, count)}
        for case in trial.cases.values()
        for series, line in case.items()
    ]


def _inside(labels: Mapping[str, str]) -> str:
    return ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))


def _told(trial: Trial, rule: Rule, case: str, value: float | None) -> Test:
    own, notes = labels_of(rule), rule["annotations"]
    assert isinstance(notes, dict)
    assert value is not None
    labels = {**trial.labels(case), **own}
    return {
        "exp_labels": labels,
        "exp_annotations": {key: render(text, value, labels, found(trial, rule)) for key, text in notes.items()},
    }


def _constant(trial: Trial, rule: Rule, end: float) -> list[Test]:
    count = math.ceil(end / trial.step)
    return [
        {"series": one.text, "values": f"1x{count}" if one.growth is None else f"0+{one.growth}x{count}"}
        for one in found(trial, rule)
        if one.text not in _own(trial)
    ]


def found(trial: Trial, rule: Rule) -> list[trials_format.Example]:
    """Return the series in which the alerts of a trial find what they name."""
    notes, own = rule["annotations"], labels_of(rule)
    assert isinstance(notes, dict)
    firing = dict.fromkeys(case for _, cases in trial.checks for case in cases)
    each = (trials_format.examples(notes, {**trial.labels(case), **own}) for case in firing)
    held = {trials_format.Example(text, 1) for text in _own(trial)}
    counted = {one.selector.metric for one in held}
    more = dict.fromkeys(one for examples in each for one in examples if one.selector.metric not in counted)
    return [*more, *sorted(held, key=lambda one: one.text)]


def _own(trial: Trial) -> list[str]:
    return [series for case in trial.cases.values() for series in case]


def _fires(trial: Trial, rule: Rule, at: int, firing: Mapping[str, float | None]) -> Test:
    own = labels_of(rule)
    samples = []
    for case in firing:
        labels = {**trial.labels(case), **own, "alertname": str(rule["alert"]), "alertstate": "firing"}
        samples.append({"labels": f"ALERTS{{{_inside(labels)}}}", "value": 1})
    window = f',window="{own["window"]}"' if "window" in own else ""
    expr = f'ALERTS{{alertname="{rule["alert"]}",alertstate="firing"{window}}}'
    return {"expr": expr, "eval_time": f"{at}s", **({"exp_samples": samples} if samples else {})}


def labels_of(rule: Rule) -> dict[str, str]:
    """Return the labels that a rule sets."""
    own = rule["labels"]
    assert isinstance(own, dict)
    return own


def _on_step(at: float, step: int) -> int:
    return int(at // step) * step


def values(line: Gauge | Counter, step: int, count: int) -> str:
    """Return a series in promtool's notation, `count` samples long."""
    found, done, at, level = [], 0, 0.0, line.start if isinstance(line, Counter) else 0.0
    for seconds, amount in line.pieces:
        at += seconds
        samples = min(count, math.ceil(at / step)) - done
        if samples <= 0:
            continue
        start, growth = (level, amount * step) if isinstance(line, Counter) else (amount, 0.0)
        found.append(f"{start:.10g}{'-' if growth < 0 else '+'}{abs(growth):.10g}x{samples - 1}")
        level, done = start + growth * samples, done + samples
    return " ".join(found)
