"""Unit tests for promtool: one file for each alert, or for each burn-rate window of an SLO."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from ai_workflow.slo import definitions, label_lookup, rules
from ai_workflow.slo.alert import Counter, Gauge, RuleTest, parameters
from ai_workflow.slo.burn_rate import Rule
from ai_workflow.slo.label_lookup import ExampleSeries
from ai_workflow.slo.rule_tests import burn_rate_tests, input_series
from ai_workflow.slo.rule_tests.rendering import render
from ai_workflow.slo.spec import BUDGETED, Spec

Test = dict[str, object]


def files(spec: Spec, groups: Mapping[str, list[Rule]]) -> Iterator[tuple[str, Test]]:
    """Yield each test file with its name; it reads the rules of its group from `../rules/`."""
    for entry in spec.entries:
        alert = definitions.find_alert(entry.name)
        if alert:
            test = alert.rule_test(parameters(entry, rules.slo_of(spec, entry), spec.keep_firing))
            rule = next(rule for rule in groups[alert.group] if rule["alert"] == entry.name)
            yield entry.name, _file(alert.group, test.every, [_alert_test(test, rule), _no_data_test(test, rule)])
    for slo in spec.slos:
        group = f"slo-{slo.name}"
        for name, tests in burn_rate_tests.files(spec, slo, groups.get(group, [])):
            yield f"{slo.name}-{name}", _file(group, tests[0][0].every, [_alert_test(*pair) for pair in tests])
        if slo.kind in BUDGETED and (events := input_series.event_source(slo)):
            test, expected = burn_rate_tests.records(spec, slo, events)
            yield f"{slo.name}-records", _file(group, test.every, [_record_test(test, expected)])
            if slo.windows:
                test = burn_rate_tests.text_test(slo, events)
                alerts = [rule for rule in groups[group] if rule.get("alert") == slo.alert]
                tests_of_texts = [_text_test(test, alerts), _no_data_test(test, alerts[0])]
                yield f"{slo.name}-texts", _file(group, test.every, tests_of_texts)


def _file(group: str, every: int, tests: Sequence[Test]) -> Test:
    return {"rule_files": [f"../rules/{group}.yaml"], "evaluation_interval": f"{every}s", "tests": list(tests)}


def _alert_test(test: RuleTest, rule: Rule) -> Test:
    end = max(at for at, _ in test.checks)
    checks = [(_on_step(at, test.every), firing) for at, firing in test.checks]
    result: Test = {
        "name": str(rule["alert"]),
        "interval": f"{test.step}s",
        "input_series": [*_input(test, end), *_lookup_series(test, rule, end)],
    }
    # An alert rule test compares all alerts of a name, so alerts with several windows are checked by their time only.
    has_windows = "window" in labels_of(rule)
    exact = [(at, firing) for at, firing in checks if not has_windows and None not in firing.values()]
    if exact:
        result["alert_rule_test"] = [
            {
                "eval_time": f"{at}s",
                "alertname": rule["alert"],
                **(
                    {"exp_alerts": [_expected_alert(test, rule, case, value) for case, value in firing.items()]}
                    if firing
                    else {}
                ),
            }
            for at, firing in exact
        ]
    if timed := [(at, firing) for at, firing in checks if has_windows or None in firing.values()]:
        result["promql_expr_test"] = [_firing_check(test, rule, at, firing) for at, firing in timed]
    return result


def _no_data_test(test: RuleTest, rule: Rule) -> Test:
    """Return a test without data, in which only the watchdog alert fires."""
    check = {"eval_time": f"{10 * test.every}s", "alertname": rule["alert"]}
    if rule["expr"] == "vector(1)":
        check["exp_alerts"] = [_expected_alert(test, rule, "", 1)]
    return {"name": "no data", "interval": f"{test.step}s", "input_series": [], "alert_rule_test": [check]}


def _text_test(test: RuleTest, alerts: Sequence[Rule]) -> Test:
    """Return a test of all windows at once, because promtool compares all alerts of a name."""
    ((at, firing),) = test.checks
    expected = [_expected_alert(test, rule, case, value) for rule in alerts for case, value in firing.items()]
    check = {"eval_time": f"{_on_step(at, test.every)}s", "alertname": alerts[0]["alert"], "exp_alerts": expected}
    return {**_alert_test(test, alerts[0]), "alert_rule_test": [check]}


def _record_test(test: RuleTest, expected: Sequence[tuple[str, float, Mapping[str, str]]]) -> Test:
    ((at, _),) = test.checks
    return {
        "name": "records",
        "interval": f"{test.step}s",
        "input_series": _input(test, at),
        "promql_expr_test": [
            {
                "expr": f"abs({name}{{{_matchers(labels)}}} - {value:.10g}) <= bool {value * 0.005:.10g}",
                "eval_time": f"{_on_step(at, test.every)}s",
                "exp_samples": [{"labels": "{" + _matchers(labels) + "}", "value": 1}],
            }
            for name, value, labels in expected
        ],
    }


def _input(test: RuleTest, end: float) -> list[Test]:
    count = math.ceil(end / test.step) + 1
    return [
        {"series": series, "values": values(metric, test.step, count)}
        for case in test.cases.values()
        for series, metric in case.items()
    ]


def _matchers(labels: Mapping[str, str]) -> str:
    return ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))


def _expected_alert(test: RuleTest, rule: Rule, case: str, value: float | None) -> Test:
    own, annotations = labels_of(rule), rule["annotations"]
    assert isinstance(annotations, dict)
    assert value is not None
    labels, series = {**test.labels(case), **own}, example_series(test, rule)
    return {
        "exp_labels": labels,
        "exp_annotations": {key: render(text, value, labels, series) for key, text in annotations.items()},
    }


def _lookup_series(test: RuleTest, rule: Rule, end: float) -> list[Test]:
    count = math.ceil(end / test.step)
    return [
        {"series": example.text, "values": f"1x{count}" if example.growth is None else f"0+{example.growth}x{count}"}
        for example in example_series(test, rule)
        if example.text not in _case_series(test)
    ]


def example_series(test: RuleTest, rule: Rule) -> list[ExampleSeries]:
    """Return the series that the lookups of an alert read in a test."""
    annotations, own = rule["annotations"], labels_of(rule)
    assert isinstance(annotations, dict)
    firing = dict.fromkeys(case for _, cases in test.checks for case in cases)
    by_case = (label_lookup.examples(annotations, {**test.labels(case), **own}) for case in firing)
    case_examples = {ExampleSeries(text, 1) for text in _case_series(test)}
    metrics = {example.selector.metric for example in case_examples}
    others = dict.fromkeys(
        example for examples in by_case for example in examples if example.selector.metric not in metrics
    )
    return [*others, *sorted(case_examples, key=lambda example: example.text)]


def _case_series(test: RuleTest) -> list[str]:
    return [series for case in test.cases.values() for series in case]


def _firing_check(test: RuleTest, rule: Rule, at: int, firing: Mapping[str, float | None]) -> Test:
    own = labels_of(rule)
    samples = []
    for case in firing:
        labels = {**test.labels(case), **own, "alertname": str(rule["alert"]), "alertstate": "firing"}
        samples.append({"labels": f"ALERTS{{{_matchers(labels)}}}", "value": 1})
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


def values(series: Gauge | Counter, step: int, count: int) -> str:
    """Return a series of `count` samples in the notation of promtool."""
    terms: list[str] = []
    done, at = 0, 0.0
    level = series.start if isinstance(series, Counter) else 0.0
    for seconds, amount in series.segments:
        at += seconds
        samples = min(count, math.ceil(at / step)) - done
        if samples <= 0:
            continue
        start, growth = (level, amount * step) if isinstance(series, Counter) else (amount, 0.0)
        terms.append(f"{start:.10g}{'-' if growth < 0 else '+'}{abs(growth):.10g}x{samples - 1}")
        level, done = start + growth * samples, done + samples
    return " ".join(terms)
