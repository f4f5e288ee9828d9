"""Metrics of own code: values, comparison with the baseline, quality gate, and errors with file and line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ai_workflow.config.problems import ConfigError
from ai_workflow.config.settings import METRICS
from ai_workflow.datasets import fingerprint
from ai_workflow.errors import StageError
from ai_workflow.evaluation import baseline, champion, constant_model, own_metrics, scores
from ai_workflow.evaluation.held_out import HeldOut
from ai_workflow.evaluation.quality_gate import QualityGate, judge
from ai_workflow.evaluation.score_options import ScoreOptions
from ai_workflow.storage.store import Store
from tests.config_project import BASE, Project
from tests.own_code import TeamFolder
from tests.stages.tables import Pipeline, parted, people, settings

pytestmark = pytest.mark.integration
MODULE = """
    import numpy as np

    def cost(target, prediction):
        return float(((target == "yes") & (prediction == "no")).sum() * 5 + (prediction == "yes").sum())

    cost.greater_is_better = False

    def margin(target, prediction, probabilities):
        return np.float32(probabilities["yes"][target == "yes"].mean())

    margin.greater_is_better = True

    def lift(target, prediction, positive):
        return float((prediction == positive)[target == positive].mean())

    lift.greater_is_better = True

    def bias(target, prediction):
        return (prediction - target).mean()

    def correlation(target, prediction):
        with np.errstate(invalid="ignore"):
            return np.corrcoef(target, prediction)[0, 1]

    correlation.greater_is_better = True
"""
CLASSES: dict[str, Any] = {
    "target": "good", "classes": ["no", "yes"], "statistics": {"good": {"counts": [["no", 60], ["yes", 40]]}},
}  # fmt: skip
NUMBERS: dict[str, Any] = {
    "target": "price", "classes": None, "statistics": {"price": {"median": 1.0, "mean": 2.0, "quantiles": [0, 1, 5]}},
}  # fmt: skip


@pytest.fixture
def team(tmp_path: Path) -> Iterator[TeamFolder]:
    folder = TeamFolder(tmp_path)
    folder.write("team_metrics.py", MODULE)
    fingerprint.code_version.cache_clear()
    yield folder
    folder.forget()


def own(*names: str, **options: Any) -> ScoreOptions:
    return ScoreOptions(own=tuple(f"team_metrics:{name}" for name in names), **options)


def chances(second: list[float]) -> np.ndarray:
    return np.column_stack([1 - np.array(second), second])


def test_metrics_get_class_names_predictions_and_probabilities(team: TeamFolder) -> None:
    y, predictions = np.array([0.0, 1, 1, -1]), chances([0.4, 0.9, 0.4, 0.6])
    found: Any = scores.compute(y, predictions, CLASSES, own("cost", "margin"))
    assert found["team_metrics:cost"] == 7
    assert found["team_metrics:margin"] == pytest.approx(0.65)
    assert list(found)[: len(METRICS["classification"])] == list(scores.compute(y, predictions, CLASSES))[:-2]
    found = scores.compute(y, predictions, CLASSES, own("cost", threshold=0.3))
    assert found["team_metrics:cost"] == 4


def test_metrics_of_a_regression_get_values(team: TeamFolder) -> None:
    found: Any = scores.compute(np.array([1.0, 2.0]), np.array([2.0, 4.0]), NUMBERS, own("bias", "correlation"))
    assert (found["team_metrics:bias"], found["team_metrics:correlation"]) == (1.5, pytest.approx(1))


def test_functions_of_installed_libraries_are_metrics() -> None:
    options = ScoreOptions(own=("sklearn.metrics:matthews_corrcoef", "sklearn.metrics:cohen_kappa_score"))
    found: Any = scores.compute(np.array([0, 1, 1, 0]), chances([0.1, 0.9, 0.8, 0.2]), CLASSES, options)
    assert [found[name] for name in options.own or ()] == [1, 1]
    assert own_metrics.check(options.own or (), "accuracy") == (f"sklearn.metrics@{version('scikit-learn')}",)


def test_metric_that_changes_its_arguments_changes_no_other_metric(team: TeamFolder) -> None:
    team.write(
        "greedy.py", "def f(target, prediction):\n    target[:] = 'no'\n    prediction[:] = 'no'\n    return 1.0"
    )
    y, predictions = np.array([0.0, 1]), chances([0.4, 0.4])
    found: Any = scores.compute(y, predictions, CLASSES, ScoreOptions(own=("greedy:f", "team_metrics:cost")))
    assert found["team_metrics:cost"] == 5


def test_baseline_is_the_best_constant_by_the_metric(team: TeamFolder) -> None:
    y = np.array([0, 0, 1, 1, 1])
    found: Any = constant_model.scores_of(y, CLASSES, own("cost", "margin"))
    assert found["team_metrics:cost"] == 5
    assert found["team_metrics:margin"] == 1
    found = constant_model.scores_of(np.array([1.0, 1.5, 4.0]), NUMBERS, own("correlation", "bias"))
    assert found["team_metrics:correlation"] is None
    assert found["team_metrics:bias"] == pytest.approx(1 - 6.5 / 3)


@pytest.mark.parametrize(("metric", "spec"), [("cost", CLASSES), ("correlation", NUMBERS)])
def test_informed_model_beats_the_baseline_and_a_random_one_does_not(
    team: TeamFolder, metric: str, spec: dict[str, Any]
) -> None:
    draw = np.random.default_rng(1)
    y = (draw.random(200) < 0.4).astype(float)
    for informed, noise in ((True, np.abs(y - 0.1)), (False, draw.random(200))):
        predictions = chances(noise.tolist()) if spec is CLASSES else noise
        found = baseline.compare(f"team_metrics:{metric}", y, predictions, spec, own(metric))
        assert found.beats is informed


@pytest.mark.parametrize(("metric", "value", "passes"), [("cost", 4, True), ("cost", 6, False), ("margin", 4, False)])
def test_gate_compares_in_the_declared_direction(team: TeamFolder, metric: str, value: float, passes: bool) -> None:
    name: Any = f"team_metrics:{metric}"
    gate = QualityGate(metric=name, minimum=5, tolerance=0, scoring=own(metric))
    passed, verdict = judge({name: value}, gate, None)
    assert passed is passes
    assert passes or (name in verdict and "(evaluate.minimum)" in verdict)
    stable: Any = {"version": "model_v1.0", "scores": {name: 5.0}, "note": ""}
    assert judge({name: value}, gate.model_copy(update={"minimum": None}), stable)[0] is passes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(target, prediction):\n    return 1 / 0", "raised ZeroDivisionError: division by zero at {file}"),
        ("def f(target, prediction): return float('nan')", " at {file}:1: the result for 2 rows held out is nan"),
        ("def f(target, prediction): return float('-inf')", " at {file}:1: the result for 2 rows held out is -inf"),
        ("def f(target, prediction): return None", " at {file}:1: it returned NoneType, not a number"),
        ("def f(target, prediction): return True", "it returned bool, not a number"),
        ("def f(target, prediction): return '0.5'", "it returned str, not a number"),
        ("def f(target, prediction): return target == prediction", "it returned Series, not a number"),
        ("def f(target, prediction): raise SystemExit(3)", "the function raised SystemExit: 3 at {file}:1"),
        ("def f(target): return 1.0", " at {file}:1 does not take (target, prediction) or (target, prediction, prob"),
        ("def f(target, prediction, beta): return 1.0", "missing a required argument: 'beta'"),
        ("class f: pass", "is type, not a function"),
        ("f = 0.5", "is float, not a function"),
        ("import absent_package\ndef f(target, prediction): return 1.0", "needs the module absent_package, which is"),
    ],
)  # fmt: skip
def test_metric_that_breaks_a_rule_is_an_error(team: TeamFolder, text: str, said: str) -> None:
    file = team.write("wrong.py", text)
    with pytest.raises(StageError) as raised:
        own_metrics.values(["wrong:f"], HeldOut(np.array([0, 1]), chances([0.1, 0.9]), ["no", "yes"]))
    assert str(raised.value).startswith("evaluate.metrics wrong:f")
    assert said.format(file=file) in str(raised.value)


def test_metric_of_the_gate_without_direction_is_refused(team: TeamFolder) -> None:
    assert own_metrics.check(["team_metrics:bias"], "mae") == ("team_metrics",)
    with pytest.raises(
        StageError,
        match=r"metrics.py:\d+: evaluate.metric and trainer.search.metric need .*Write bias.greater_is_better = True",
    ):
        own_metrics.check(["team_metrics:bias"], "team_metrics:bias")


def test_metric_of_one_class_gets_the_positive_class(team: TeamFolder) -> None:
    y, predictions = np.array([0.0, 1, 1, 1]), chances([0.4, 0.9, 0.4, 0.3])
    for positive, value in ((None, 1 / 3), ("no", 1.0)):
        found: Any = scores.compute(y, predictions, CLASSES, own("lift", positive_class=positive))
        assert found["team_metrics:lift"] == pytest.approx(value)
    three: Any = {**CLASSES, "classes": ["a", "b", "c"]}
    gate = QualityGate(metric="team_metrics:lift", minimum=None, tolerance=0, scoring=own("lift"))
    gate.check(["no", "yes"])
    for classes in (three["classes"], None):
        with pytest.raises(StageError, match=r"metrics.py:\d+ is a metric of one class.*Set evaluate.positive_class"):
            gate.check(classes)


def test_gate_enforces_minimum_of_own_metric_per_class(team: TeamFolder) -> None:
    name = "team_metrics:lift"
    y, predictions = np.array([0.0, 1, 1, 1]), chances([0.4, 0.9, 0.4, 0.3])
    options = ScoreOptions(own_per_class=(name,))
    found = scores.compute(y, predictions, CLASSES, options)
    assert [dict(line)[name] for line in found["per_class"]] == [1, pytest.approx(1 / 3)]
    for minimum, passes in ((0.5, False), (0.3, True), ({"no": 0.9}, True), ({"yes": 0.9}, False)):
        gate = QualityGate(metric="accuracy", minimum=None, tolerance=0, scoring=options, per_class={name: minimum})
        passed, verdict = judge(found, gate, None)
        assert passed is passes
        assert passes or "team_metrics:lift 0.3333 of class 'yes' is below" in verdict
    absent = scores.compute(np.array([1.0]), chances([0.9]), CLASSES, options)
    assert name not in absent["per_class"][0]
    gate = QualityGate(metric="accuracy", minimum=None, tolerance=0, scoring=options, per_class={name: 0.1})
    assert (
        "no row held out is of class 'no', so its team_metrics:lift cannot be computed" in judge(absent, gate, None)[1]
    )


@pytest.mark.parametrize("name", ["cost", "margin", "bias"])
def test_metric_without_class_or_direction_has_no_minimum_per_class(team: TeamFolder, name: str) -> None:
    assert own_metrics.check([], "accuracy", ["team_metrics:lift"]) == ("team_metrics",)
    with pytest.raises(StageError, match=r"cannot have a minimum for each class .*Give it the parameter positive"):
        own_metrics.check([], "accuracy", [f"team_metrics:{name}"])


def test_card_manifest_and_stable_have_the_metric(team: TeamFolder, tmp_path_factory: pytest.TempPathFactory) -> None:
    name = "team_metrics:cost"
    evaluate = {"metric": name, "metrics": ["team_metrics:margin"], "per_class": {"team_metrics:lift": 0.1}}
    store, frames = Store(tmp_path_factory.mktemp("var")), parted(people().drop(columns="spent"), 2)
    made = Pipeline(store, settings(evaluate=evaluate)).publish(*frames)
    card = made.file("card.md").decode()
    assert "| team_metrics:cost (judged) | " in card
    assert "| team_metrics:margin | " in card
    assert "| class | precision | recall | f1 | team_metrics:lift | rows |" in card
    manifest = made.version.manifest
    value = manifest["scores"][scores.key(name)]
    assert made.evaluated["message"].startswith(f"{name} {value:.4f} on ")
    assert manifest["scoring"].get("own") == own_metrics.codes([name, "team_metrics:margin"])
    changed = settings(evaluate=evaluate, trainer={"steps": 12, "params": {"min_data_in_leaf": 5}})
    again = Pipeline(store, changed).publish(*frames)
    stable = json.loads(again.file("card.json"))["stable"]
    assert stable["scores"][name] == value


def test_scores_of_a_publication_count_only_for_the_same_code(team: TeamFolder) -> None:
    spec: Any = CLASSES
    record = own("cost").record(spec)
    manifest = {"scoring": record, "scores": {"team_metrics:cost": 5.0, "f1": 0.5}}
    published: Any = SimpleNamespace(manifest=manifest)
    assert champion._published(published, record) == manifest["scores"]
    team.write("team_metrics.py", MODULE.replace("* 5", "* 6"))
    assert champion._published(published, own("cost").record(spec)) == {"f1": 0.5}
    assert champion._published(published, own("cost", positive_class="no").record(spec)) == {}


def test_code_of_metrics_is_in_the_cache_key_unless_it_declares_a_version(team: TeamFolder) -> None:
    spec: Any = CLASSES
    before = own("cost").record(spec)
    team.write("team_metrics.py", MODULE.replace("def cost", "# Why.\n    def cost"))
    assert own("cost").record(spec) == before
    team.write("team_metrics.py", MODULE.replace("* 5", "* 6"))
    assert own("cost").record(spec) != before
    team.write("team_metrics.py", MODULE + "\n    cost.version = '2'\n")
    assert own_metrics.check(["team_metrics:cost"], "") == ("team_metrics:cost@2",)


def test_metric_of_the_gate_is_computed_once_with_the_other_metrics() -> None:
    evaluate = {"metric": "a:f", "metrics": ["b:g", "a:f"]}
    assert QualityGate.of(settings(evaluate=evaluate)).own_metrics == ("b:g", "a:f")
    gate = QualityGate.of(settings(evaluate={"metric": "f1"}))
    assert (gate.own_metrics, gate.scoring.own) == ((), None)


@pytest.mark.parametrize(
    ("evaluate", "said"),
    [
        ("{metric: accurracy}", "mine.yaml:6: evaluate.metric: unknown name 'accurracy'; did you mean 'accuracy'?"),
        ("{metric: mae}", "evaluate.metric: mae is not for classification: one of accuracy"),
        ("{metric: 'absent:f'}", "evaluate.metric: absent:f: there is no module absent in "),
        ("{metrics: [f1]}", "evaluate.metrics: f1 is always computed; name functions of own code"),
        ("{metrics: [own.f1]}", "evaluate.metrics: unknown name 'own.f1'"),
        ("{metrics: ['mine:f', 'mine:f']}", "evaluate.metrics: has mine:f twice"),
        ("{metrics: ['mine:g']}", "mine.py does not define g; it defines f"),
        ("{per_class: {speed: 0.5}}", "evaluate.per_class.speed: unknown name 'speed'; known: precision, recall, f1"),
        ("{per_class: {'mine:g': 0.5}}", "evaluate.per_class.mine:g: mine:g: "),
        ("{per_class: {'mine:f': 2}}", "must be at most 1"),
    ],
)
def test_wrong_name_of_a_metric_is_reported_at_load(tmp_path: Path, evaluate: str, said: str) -> None:
    project = Project(tmp_path / "project")
    project.write("mine.py", "def f(target, prediction): return 1.0\n")
    path = project.write("mine.yaml", f"{BASE}\nevaluate: {evaluate}\n")
    with pytest.raises(ConfigError) as raised:
        project.load(path)
    assert said in str(raised.value)
