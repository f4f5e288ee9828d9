"""What judging promises: honest scores on rows never trained on, a gate that holds, and a card that tells it all."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from typing import Any
from xml.etree import ElementTree

import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from ai_workflow.config.settings import Column
from ai_workflow.datasets import coercion, parquet, partition_cache, partitions
from ai_workflow.errors import StageError
from ai_workflow.evaluation import champion, scores
from ai_workflow.evaluation.quality_gate import QualityGate, judge
from ai_workflow.evaluation.score_options import ScoreOptions
from ai_workflow.features import transform
from ai_workflow.inference.model_process import ModelProcess
from ai_workflow.registry import golden_rows, verification
from ai_workflow.runtime import memory_pressure
from ai_workflow.stages import evaluator, feature_engineering
from ai_workflow.stages.feature_engineering import HOLDOUT, TARGET
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import trace_context
from ai_workflow.training import protocol
from tests.stages.tables import Made, Pipeline, Result, load, parted, people, rows, settings

pytestmark = pytest.mark.integration

TRACE = "a3f7b2c1" * 4


def report(made: Made) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made.file("card.json"))
    return found


def held(made: Made) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth and the model's answers for the rows held out, by another way than the stage's."""
    frame = rows(made.pipeline.store, made.featured)
    frame = frame[frame[HOLDOUT]]
    x = frame[transform.names(made.spec)].to_numpy("float32")
    return frame[TARGET].to_numpy(), protocol.load("lightgbm", made.file("model.txt"))(x)


def again(made: Made, frame: pd.DataFrame | None = None, **changes: Any) -> Result:
    """Train with other settings in the same store and judge that beside `stable`."""
    run = Pipeline(made.pipeline.store, settings(**changes))
    clean = run.clean(load(run.store, *parted(people() if frame is None else frame, 3)))
    featured = run.fit(clean)
    return run.evaluate(clean, featured, run.train(featured))


def read(store: Store, result: Result, name: str) -> str:
    ref = result["files"][name]
    return store.read(ref["path"], ref["sha256"]).decode()


def own(made: Made, tmp_path_factory: pytest.TempPathFactory, frame: pd.DataFrame | None = None) -> Made:
    """Return the same in a store of its own, for a test that changes something."""
    run = replace(made.pipeline, store=Store(tmp_path_factory.mktemp("own")))
    return run.publish(*parted(people().drop(columns="spent") if frame is None else frame, 3))


def test_classifier_holdout_scores_match_scikit_learn(bought: Made) -> None:
    y, answers = held(bought)
    found = report(bought)["scores"]
    assert report(bought)["holdout_rows"] == len(y) > 50
    assert found["accuracy"] == metrics.accuracy_score(y, answers.argmax(axis=1))
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(y, answers[:, 1]))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y, answers))
    assert found["confusion"] == metrics.confusion_matrix(y, answers.argmax(axis=1)).tolist()
    per_class = metrics.classification_report(y, answers.argmax(axis=1), output_dict=True)
    for index, line in enumerate(found["per_class"]):
        assert line["class"] == bought.spec["classes"][index]
        for ours, theirs in (("precision",) * 2, ("recall",) * 2, ("f1", "f1-score"), ("support",) * 2):
            assert line[ours] == pytest.approx(per_class[f"{index}.0"][theirs])
    assert (
        bought.evaluated["message"]
        == f"accuracy {found['accuracy']:.4f} on {len(y)} rows held out: passes, the baseline has 0.5147"
    )


def test_regression_holdout_scores_match_scikit_learn(spent: Made) -> None:
    y, answers = held(spent)
    found = report(spent)["scores"]
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(y, answers))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(y, answers))
    assert found["r2"] == pytest.approx(metrics.r2_score(y, answers))
    assert spent.evaluated["mae"] == found["mae"]


def test_baseline_is_best_constant_from_training_rows(bought: Made, spent: Made) -> None:
    y, _ = held(bought)
    frame = rows(bought.pipeline.store, bought.featured)
    share = frame[~frame[HOLDOUT]][TARGET].mean()
    found = report(bought)["baseline"]
    assert found["accuracy"] == (y == round(share)).mean()
    assert found["auc"] == 0.5
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y, np.full(len(y), share)))
    y, _ = held(spent)
    frame = rows(spent.pipeline.store, spent.featured)
    median = frame[~frame[HOLDOUT]][TARGET].median()
    assert report(spent)["baseline"]["mae"] == pytest.approx(np.abs(y - median).mean(), rel=0.01)
    assert report(spent)["scores"]["mae"] < report(spent)["baseline"]["mae"]


def test_unseen_class_counts_as_wrong(store: Store) -> None:
    made = Pipeline(store, settings()).publish(*parted(people().drop(columns="spent"), 2))
    before = report(made)
    frame = people().drop(columns="spent")
    rare = rows(store, made.clean)["person"][rows(store, made.featured)[HOLDOUT]].tolist()[:5]
    frame.loc[frame["person"].isin(rare), "bought"] = "rare"
    other = Pipeline(store, settings(pipeline="rare")).publish(*parted(frame, 2))
    y, answers = held(other)
    assert (y == -1).sum() == 5
    assert report(other)["scores"]["accuracy"] == (answers.argmax(axis=1) == y).mean()
    assert report(other)["scores"]["log_loss"] > before["scores"]["log_loss"] + 2


HIGHER = [name for name, higher in scores.HIGHER_IS_BETTER.items() if higher]
LOWER = [name for name, higher in scores.HIGHER_IS_BETTER.items() if not higher]


@pytest.mark.parametrize(
    ("metric", "value", "minimum", "passes"),
    [(name, *case) for name in HIGHER for case in ((0.8, 0.7, True), (0.8, 0.8, True), (0.79, 0.8, False))]
    + [(name, *case) for name in LOWER for case in ((0.7, 0.8, True), (0.8, 0.8, True), (0.81, 0.8, False))],
)
def test_quality_gate_enforces_minimum(metric: str, value: float, minimum: float, passes: bool) -> None:
    passed, verdict = judge({metric: value}, QualityGate(metric=metric, minimum=minimum, tolerance=0), None)
    assert passed is passes
    assert passes or ("evaluate.minimum" in verdict and f"{metric} {value:.4f}" in verdict)
    assert passes or ("below the minimum" in verdict) == (metric in HIGHER)


@pytest.mark.parametrize(
    ("metric", "value", "before", "passes"),
    [(name, *case) for name in HIGHER for case in ((0.9, 0.8, True), (0.755, 0.8, True), (0.74, 0.8, False))]
    + [(name, *case) for name in LOWER for case in ((0.7, 0.8, True), (0.845, 0.8, True), (0.86, 0.8, False))],
)
def test_quality_gate_rejects_model_worse_than_stable(metric: str, value: float, before: float, passes: bool) -> None:
    stable = {"version": "model_v1.4", "scores": {metric: before}}
    passed, verdict = judge({metric: value}, QualityGate(metric=metric, minimum=None, tolerance=0.05), stable)
    assert passed is passes
    assert "model_v1.4" in verdict
    assert passes or ("evaluate.tolerance" in verdict and f"{before:.4f}" in verdict)


PER_CLASS = [
    {"class": "a", "precision": 0.9, "recall": 0.8, "f1": 0.85, "support": 10},
    {"class": "b", "precision": 0.6, "recall": 0.3, "f1": 0.4, "support": 5},
    {"class": "c", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
]


@pytest.mark.parametrize(
    ("per_class", "problem"),
    [
        ({"recall": {"a": 0.8, "b": 0.3}, "f1": {"a": 0.85}}, ""),
        ({"recall": {"a": 0.81}}, "recall 0.8000 of class 'a' is below 0.81 (evaluate.per_class)"),
        ({"recall": {"c": 0.1}}, "no row held out is of class 'c', so its recall cannot be computed"),
        (
            {"precision": 0.6, "f1": 0.5},
            "no row held out is of class 'c', so its precision cannot be computed, f1 0.4000",
        ),
    ],
)
def test_quality_gate_enforces_minimum_per_class(per_class: dict[str, Any], problem: str) -> None:
    gate = QualityGate(metric="accuracy", minimum=None, tolerance=0, per_class=per_class)
    passed, verdict = judge({"accuracy": 0.9, "per_class": PER_CLASS}, gate, None)
    assert passed is not bool(problem)
    assert problem in verdict


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"metric": "f1"}, r"f1 is that of one class, and the target has 3\. Set .*, or use f1_macro or f1_weighted"),
        ({"metric": "recall"}, "or use recall_macro"),
        ({"scoring": {"positive_class": "d"}}, r"evaluate\.positive_class 'd' is no class of the training rows"),
        ({"scoring": {"threshold": 0.3}}, r"evaluate\.threshold is for two classes, and there are 3"),
        (
            {"per_class": {"recall": {"a": 0.1, "d": 0.1}}},
            r"evaluate\.per_class has 'd', no class of the training rows",
        ),
    ],
)
def test_gate_that_does_not_fit_the_classes_is_an_error(options: dict[str, Any], problem: str) -> None:
    gate = QualityGate.model_validate({"metric": "accuracy", "minimum": None, "tolerance": 0, **options})
    with pytest.raises(StageError, match=problem):
        gate.check(["a", "b", "c"])
    gate.check(None)


def test_gate_that_fits_the_classes_is_accepted() -> None:
    scoring = ScoreOptions(positive_class="a", threshold=0.3)
    gate = QualityGate(metric="f1", minimum=None, tolerance=0, scoring=scoring, per_class={"recall": {"b": 0.1}})
    gate.check(["a", "b"])


@pytest.mark.parametrize(("metric", "reason"), [("mape", "is 0"), ("recall", "of the positive class")])
def test_undefined_metric_names_its_reason(metric: str, reason: str) -> None:
    passed, verdict = judge({metric: None}, QualityGate(metric=metric, minimum=0.5, tolerance=0), None)
    assert not passed
    assert reason in verdict


@pytest.mark.parametrize("minimum", [None, 0.5])
def test_undefined_metric_fails_quality_gate(minimum: float | None) -> None:
    passed, verdict = judge({"auc": None}, QualityGate(metric="auc", minimum=minimum, tolerance=1), None)
    assert not passed
    assert "one class" in verdict


def test_stable_without_gate_metric_is_ignored() -> None:
    stable = {"version": "model_v1.0", "scores": {"auc": 0.9}}
    assert judge({"accuracy": 0.1}, QualityGate(metric="accuracy", minimum=None, tolerance=0), stable) == (
        True,
        "passes",
    )


def test_rejected_model_keeps_report_and_card_named_in_error(store: Store) -> None:
    run = Pipeline(store, settings(evaluate={"minimum": 1.1}))
    with pytest.raises(StageError) as caught:
        run.publish(*parted(people().drop(columns="spent"), 2))
    said = str(caught.value)
    assert "the gate rejects the model: accuracy" in said
    assert "below the minimum 1.1" in said
    assert said.endswith("Nothing is published")
    found = re.search(r"its card is (\S+/card\.md)\.", said)
    assert found
    place = store.local("data/evaluated") / found[1].split("/")[-2]
    assert "candidate, not published" in (place / "card.md").read_text()
    assert json.loads((place / "report.json").read_text())["gate"]["passed"] is False
    assert run.registry.versions() == []
    assert run.registry.aliases() == {"latest": None, "stable": None}


@pytest.mark.slow
def test_stable_is_scored_on_same_rows_with_own_feature_spec(bought: Made) -> None:
    """The candidate reads one column less, one more, and one as another type than `stable` does."""
    declared = {"age": {"type": "category"}, "member": {"type": "text"}}
    result = again(
        bought,
        people().assign(bonus=range(400)),
        schema=declared,
        trainer={"steps": 1},
        evaluate={"tolerance": 1, "beat_baseline": False},
    )
    found = json.loads(read(bought.pipeline.store, result, "report.json"))
    assert found["stable"] == {"version": "model_v1.0", "scores": report(bought)["scores"], "note": ""}
    assert found["scores"]["log_loss"] != found["stable"]["scores"]["log_loss"]
    assert f"stable model_v1.0 has {report(bought)['scores']['accuracy']:.4f}" in result["message"]
    assert "| metric | this model | baseline | model_v1.0 |" in read(bought.pipeline.store, result, "card.md")


def test_gate_judges_metric_of_positive_class_and_minimum_per_class(store: Store) -> None:
    frame = people().drop(columns="spent")
    evaluate = {"metric": "f1", "positive_class": "no", "per_class": {"recall": {"yes": 0.1}}}
    made = Pipeline(store, settings(evaluate=evaluate)).publish(frame)
    y, answers = held(made)
    expected = metrics.f1_score(y == 0, answers.argmax(axis=1) == 0)
    assert made.evaluated["f1"] == pytest.approx(expected)
    assert made.version.manifest["scores"]["f1"] == pytest.approx(expected)
    assert made.version.manifest["scoring"] == {"positive_class": "no", "quantile": None}
    assert "- **positive class**: `no`" in made.file("card.md").decode()
    with pytest.raises(StageError, match=r"recall 0\.\d+ of class 'yes' is below 1 \(evaluate.per_class\)"):
        again(made, frame, evaluate={**evaluate, "per_class": {"recall": {"yes": 1}}})
    with pytest.raises(StageError, match=r"evaluate\.positive_class 'maybe' is no class of the training rows"):
        again(made, frame, evaluate={"metric": "f1", "positive_class": "maybe"})


@pytest.mark.parametrize(("positive", "is_compared"), [("yes", True), ("no", False)])
def test_published_scores_of_stable_are_compared_only_with_the_same_options(
    store: Store, positive: str, is_compared: bool
) -> None:
    made = Pipeline(store, settings(evaluate={"metric": "f1"})).publish(people().drop(columns="spent"))
    result = again(
        made,
        people().drop(columns=["spent", "member"]),
        evaluate={"metric": "f1", "positive_class": positive, "tolerance": 1},
    )
    assert ("stable model_v1.0 has" in result["message"]) is is_compared
    stable = json.loads(read(store, result, "report.json"))["stable"]["scores"]
    assert stable["accuracy"] == made.version.manifest["scores"]["accuracy"]
    assert ("average_precision" in stable) is is_compared


@pytest.mark.slow
def test_model_worse_than_stable_is_rejected(bought: Made) -> None:
    unused = {name: {"type": "text"} for name in ("age", "city")}
    with pytest.raises(StageError, match=r"accuracy 0\.\d+ is worse than that of stable model_v1\.0, 0\.\d+, by more"):
        again(
            bought,
            people().drop(columns="spent"),
            schema=unused,
            trainer={"steps": 1},
            evaluate={"beat_baseline": False},
        )


@pytest.mark.parametrize("damage", ["column", "model"])
@pytest.mark.slow
def test_unusable_stable_is_compared_by_recorded_scores_with_note(
    bought: Made, tmp_path_factory: pytest.TempPathFactory, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = own(bought, tmp_path_factory)
    store, frame = made.pipeline.store, people().drop(columns="spent")
    if damage == "column":
        frame = frame.drop(columns="member")
    else:
        path = store.local(f"{made.version.folder}/model.txt")
        path.write_bytes(path.read_bytes()[:-100])
    result = again(made, frame, trainer={"steps": 5}, evaluate={"tolerance": 1, "beat_baseline": False})
    found = json.loads(read(store, result, "report.json"))
    recorded = {name: value for name, value in report(made)["scores"].items() if name in report(made)["baseline"]}
    assert found["stable"]["scores"] == recorded
    assert "model_v1.0 could not score these rows" in read(store, result, "card.md")
    assert "model_v1.0 cannot score these rows" in caplog.text


def test_stable_with_other_target_is_not_compared(bought: Made) -> None:
    frame = people().rename(columns={"bought": "sold"}).drop(columns="spent")
    result = again(bought, frame, target="sold", trainer={"steps": 2}, evaluate={"beat_baseline": False})
    assert "held out: passes" in result["message"]
    assert "has another task" in read(bought.pipeline.store, result, "card.md")


def test_identical_stable_model_is_not_compared(bought: Made) -> None:
    store = bought.pipeline.store
    assert champion.find(bought.pipeline.registry, bought.trained["fingerprint"]) is None
    assert champion.find(bought.pipeline.registry, "other") == bought.version.name
    result = again(bought, people().drop(columns="spent"))
    assert json.loads(read(store, result, "report.json"))["stable"] is None


def test_no_champion_without_stable_version(store: Store) -> None:
    assert champion.find(Pipeline(store, settings()).registry, "any") is None


def test_card_shows_data_metrics_and_confidence_interval(bought: Made) -> None:
    card, found = bought.file("card.md").decode(), report(bought)
    low, high = scores.wilson_interval(found["scores"]["accuracy"], found["holdout_rows"])
    lines = [
        f"# people · {bought.version.name}",
        "- **task**: classification of `bought`",
        f"- **rows**: {400 - found['holdout_rows']} to train, 0 to stop early, {found['holdout_rows']} held out",
        "- **holdout**: 20% by the hash of the id",
        f"- **data**: `{bought.clean['fingerprint']}`",
        "| metric | this model | baseline |",
        "| class | precision | recall | f1 | rows |",
        "**Gate:** passes",
    ]
    for line in lines:
        assert line in card
    assert f"the accuracy is between {low:.1%} and {high:.1%} (95 % Wilson interval)" in card
    assert "accuracy says little" not in card
    for line in found["scores"]["per_class"]:
        assert f"| {line['class']} | {line['precision']:.3f} | {line['recall']:.3f} |" in card


def test_card_shows_hyperparameters_and_period_of_training_rows(store: Store) -> None:
    made = Pipeline(store, settings(timestamp="opened")).publish(people().drop(columns="spent"))
    card = made.file("card.md").decode()
    assert "- **hyperparameters**: seed `0`, steps `10`, min_data_in_leaf `5`, num_threads `1`\n" in card
    opened = people()["opened"].sort_values()
    first, last = opened.iloc[0].isoformat(), opened[opened < made.spec["split"]["cutoff"]].iloc[-1].isoformat()
    assert f"- **training rows from**: {first} to {last}\n" in card


@pytest.mark.parametrize("count", [1, 3])
def test_card_names_slice_that_cannot_be_predicted(store: Store, count: int) -> None:
    frame = people(1200).drop(columns="spent")
    random = np.random.default_rng(0)
    is_bonn = frame["city"] == "Bonn"
    frame.loc[is_bonn, "bought"] = random.choice(["no", "yes"], int(is_bonn.sum()))
    made = Pipeline(store, settings()).publish(*parted(frame, count))
    first = report(made)["slices"][0]
    y, answers = held(made)
    held_out = rows(store, made.featured)[HOLDOUT].to_numpy()
    is_slice = (rows(store, made.clean)["city"] == "Bonn").to_numpy()[held_out]
    assert (first["slice"], first["rows"]) == ("city = Bonn", is_slice.sum())
    assert first["accuracy"] == pytest.approx((answers.argmax(axis=1) == y)[is_slice].mean())
    assert "| city = Bonn |" in made.file("card.md").decode()


def test_card_warns_about_majority_class(store: Store) -> None:
    frame = people().drop(columns="spent")
    frame["bought"] = np.where(frame["age"] > 75, "yes", "no")
    made = Pipeline(store, settings(evaluate={"beat_baseline": False})).publish(frame)
    share = max(line["support"] for line in report(made)["scores"]["per_class"]) / report(made)["holdout_rows"]
    assert share > 0.8
    assert (
        f"{share:.1%} of the rows held out are of class \\`no\\`: accuracy is not informative"
        in made.file("card.md").decode()
    )


def test_card_of_time_split_shows_cutoff_and_trace(store: Store) -> None:
    with trace_context.bound(trace_id=TRACE):
        made = Pipeline(store, settings(timestamp="opened")).publish(people().drop(columns="spent"))
    card = made.file("card.md").decode()
    assert f"- **holdout**: the rows from {made.spec['split']['cutoff']} on" in card
    assert f"- **trace**: `{TRACE}`" in card


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bought", {"loss.svg", "features.svg", "confusion.svg", "roc.svg", "precision_recall.svg", "calibration.svg"}),
        ("spent", {"loss.svg", "features.svg", "answers.svg"}),
    ],
)
def test_card_plots_exist_and_are_valid_svg(name: str, expected: set[str], request: pytest.FixtureRequest) -> None:
    made: Made = request.getfixturevalue(name)
    assert {file for file in made.version.manifest["files"] if file.endswith(".svg")} == expected
    assert set(re.findall(r"!\[\w+\]\((\w+\.svg)\)", made.file("card.md").decode())) == expected
    for file in expected:
        assert ElementTree.fromstring(made.file(file)).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype"), [("bought", None), ("spent", object)])
def test_golden_rows_as_json_give_recorded_predictions(name: str, dtype: Any, request: pytest.FixtureRequest) -> None:
    made: Made = request.getfixturevalue(name)
    known, spec = json.loads(made.file("golden.json")), json.loads(made.file("features.json"))
    assert len(known["rows"]) == len(known["answers"]) == 8
    sent = pd.DataFrame(known["rows"], dtype=dtype)
    typed = {
        name: coercion.coerce(sent[name], Column(**spec["schema"][name])) for name in transform.input_columns(spec)
    }
    assert not any(hit.any() for _, findings in typed.values() for _, hit in findings)
    x = transform.transform(pd.DataFrame({name: values for name, (values, _) in typed.items()}), spec)
    model = made.file(made.version.manifest["model_file"])
    with ModelProcess(made.version.name, made.version.manifest["kind"], model, 30) as process:
        assert process.predict(x).tolist() == known["answers"]


def test_golden_rows_do_not_depend_on_batch_size(bought: Made) -> None:
    store, predict = bought.pipeline.store, protocol.load("lightgbm", bought.file("model.txt"))
    clean = partitions.Dataset.load(store, bought.clean)
    whole = golden_rows.choose(store, clean, bought.spec, predict, clean.largest)
    assert len(whole["rows"]) == 8
    assert golden_rows.choose(store, clean, bought.spec, predict, 7) == whole


@pytest.mark.slow
def test_holdout_is_read_in_slices_under_memory_pressure(
    bought: Made, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    frame = parquet.to_frame

    def judged() -> Result:
        return bought.pipeline.evaluate(bought.clean, bought.featured, bought.trained)

    def short(table: Any) -> pd.DataFrame:
        if table.num_rows > 60:
            raise MemoryError("Unable to allocate 1 GiB")
        return frame(table)

    whole = judged()
    monkeypatch.setattr(parquet, "to_frame", short)
    with pytest.raises(StageError, match=r"Give the process more memory, or hold out fewer rows: evaluate\.holdout"):
        judged()
    monkeypatch.setattr(
        memory_pressure, "with_smaller_batches", partial(memory_pressure.with_smaller_batches, floor=50)
    )
    assert judged()["files"] == whole["files"]
    assert "due to memory pressure" in caplog.text


def test_golden_rows_keep_full_precision(store: Store) -> None:
    frame = people().drop(columns="spent")
    frame["age"] = frame["age"] + 0.1 + 0.2
    frame["opened"] = frame["opened"] + pd.Timedelta(microseconds=123457)
    made = Pipeline(store, settings()).publish(frame)
    known = pd.DataFrame(json.loads(made.file("golden.json"))["rows"])
    clean = rows(store, made.clean)[rows(store, made.featured)[HOLDOUT]].head(8)
    assert known["age"].tolist() == clean["age"].tolist()
    assert pd.to_datetime(known["opened"]).tolist() == clean["opened"].tolist()


@pytest.mark.parametrize(
    "form",
    ["%d/%m/%Y", *(pytest.param(form, marks=pytest.mark.slow) for form in ("%d.%m.%y %H:%M", "%Y%m%d", "%b %d %Y"))],
)
def test_golden_rows_support_declared_date_format(store: Store, form: str) -> None:
    frame = people().drop(columns="spent")
    frame["opened"] = frame["opened"].dt.strftime(form)
    opened = {"type": "datetime", "format": form, "nullable": True}
    made = Pipeline(store, settings(schema={"opened": opened}, trainer={"steps": 3})).publish(frame)
    assert any(column["column"] == "opened" for column in made.spec["features"])
    assert verification.problems(made.pipeline.registry, made.version, 30) == []
    known = golden_rows.read(made.pipeline.registry, made.version)
    clean = rows(store, made.clean)[rows(store, made.featured)[HOLDOUT]].head(8)
    np.testing.assert_array_equal(known.x, transform.transform(clean, made.spec))


def test_repeated_evaluation_gives_same_files_and_fingerprint(bought: Made) -> None:
    run = bought.pipeline
    gate, against = (
        QualityGate.of(run.settings),
        champion.ChampionOptions(version=None, folder=run.settings.models, timeout=30),
    )
    first, second = (
        evaluator.evaluate(run.store, bought.clean, bought.featured, bought.trained, gate, against) for _ in range(2)
    )
    assert first == second
    assert partition_cache.find_corrupt(run.store, first) == []
    assert feature_engineering.read_spec(run.store, bought.featured)["classes"] == ["no", "yes"]


def test_warnings_of_earlier_stages_are_in_the_report_and_logged_once(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    frame = people(300).assign(note=[f"note {number}" for number in range(300)])
    made = Pipeline(store, settings(), alone=True).publish(frame)
    [warning] = made.clean["warnings"]
    assert warning in made.file("card.md").decode().replace("\\", "")
    assert [record.message for record in caplog.records].count(warning) == 1
    assert warning not in made.evaluated["warnings"]
    assert json.loads(made.file("card.json"))["unused_columns"] == {"note": "text"}


def test_card_has_mean_absolute_contributions_of_lightgbm(spent: Made) -> None:
    frame = rows(spent.pipeline.store, spent.featured)
    x = frame[frame[HOLDOUT]][transform.names(spent.spec)].to_numpy("float32")
    booster = lightgbm.Booster(model_str=spent.file("model.txt").decode())
    values = np.asarray(booster.predict(x, pred_contrib=True))
    found = report(spent)["contributions"]
    assert found["rows"] == len(x)
    by_column = {item["column"]: item["mean_absolute"] for item in found["columns"]}
    assert set(by_column) == set(transform.input_columns(spent.spec))
    for column, mean in by_column.items():
        at = [number for number, each in enumerate(spent.spec["features"]) if each["column"] == column]
        assert mean == pytest.approx(np.abs(values[:, at].sum(axis=1)).mean(), rel=1e-5)
    assert f"on {len(x)} of the rows held out" in spent.file("card.md").decode()
