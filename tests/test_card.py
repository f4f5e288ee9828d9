"""What a model card promises: what the version is, how good it is against what, and when a figure misleads."""

from __future__ import annotations

from typing import Any

import pytest
from markdown_it import MarkdownIt

from ai_workflow.evaluation import evaluation_warnings, model_card
from ai_workflow.evaluation.markdown import escape_active_markup
from tests.evaluation_reports import report


def _even(body: dict[str, Any]) -> dict[str, Any]:
    lines = [line | {"support": 500} for line in body["scores"]["per_class"]]
    return body | {"scores": body["scores"] | {"per_class": lines}}


def test_title_shows_version_or_unpublished_candidate() -> None:
    assert model_card.render(report(), "model_v2.3").startswith("# credit · model_v2.3\n")
    assert model_card.render(report()).startswith("# credit · candidate, not published\n")


def test_card_shows_training_facts_and_gate_result() -> None:
    text = model_card.render(report())
    for fact in ("300 steps", "800 to train, 90 to stop early, 1000 held out", "12 from 10 columns", "f" * 32,
                 "20% by the hash of the id", "**Gate:** passes", "![loss](loss.svg)"):  # fmt: skip
        assert fact in text


def test_card_names_positive_class() -> None:
    assert "- **positive class**: `yes` (precision, recall, f1)\n" in model_card.render(report())
    several = report(scoring={"positive_class": None, "quantile": None})
    assert "positive class" not in model_card.render(several)


def test_card_names_hyperparameters_period_and_columns() -> None:
    text = model_card.render(report(period=["2024-01-01T00:00:00", "2024-06-01T00:00:00"]))
    assert "- **hyperparameters**: steps `300`, seed `0`, learning_rate `0.1`\n" in text
    assert "- **training rows from**: 2024-01-01T00:00:00 to 2024-06-01T00:00:00\n" in text
    assert "- **columns used**: `age`, `city`\n" in text
    assert "training rows from" not in model_card.render(report())


def test_card_lists_worst_slices_with_bounds() -> None:
    found = [{"slice": "city = Bonn|x", "rows": 40, "accuracy": 0.5, "lower": 0.35, "upper": 0.65}]
    text = model_card.render(report(slices=found))
    assert "## Worst slices" in text
    assert "| city = Bonn\\|x | 40 | 50.0% | 35.0% | 65.0% |" in text
    assert "Worst slices" not in model_card.render(report())


def test_card_lists_mean_absolute_contributions_of_columns() -> None:
    text = model_card.render(report())
    assert "on 400 of the rows held out." in text
    assert "| column | mean absolute contribution |\n|---|---|\n| age | 0.6123 |\n| city | 0.1 |\n" in text
    many = [{"column": f"a|{number}", "mean_absolute": 1.0} for number in range(25)]
    assert "| a\\|19 | 1 |\n| 5 more | |" in model_card.render(report(contributions={"rows": 4, "columns": many}))
    assert "## Contributions" not in model_card.render(report(contributions=None))


def test_card_counts_rows_left_out_by_reason() -> None:
    left_out = {"rejected": 3, "without_target": 50, "duplicates": 0}
    assert "- **rows left out**: 3 rejected, 50 without target\n" in model_card.render(report(left_out=left_out))
    assert "- **rows left out**: none\n" in model_card.render(report())


def test_card_shows_each_metric_next_to_baseline() -> None:
    text = model_card.render(report())
    assert "| metric | this model | baseline |" in text
    assert "| accuracy (judged) | 0.9770 | 0.9770 |" in text
    assert "| auc | – | 0.5000 |" in text


def test_card_shows_stable_version_scores_and_note() -> None:
    stable = {"version": "model_v1.4", "scores": {"accuracy": 0.9, "auc": 0.8}, "note": "Its scores are older."}
    text = model_card.render(report(stable=stable))
    assert "| metric | this model | baseline | model_v1.4 |" in text
    assert "| accuracy (judged) | 0.9770 | 0.9770 | 0.9000 |" in text
    assert "| log_loss | 0.1000 | 0.1100 | – |" in text
    assert "> Its scores are older." in text


def test_card_shows_accuracy_confidence_interval() -> None:
    assert "With 1000 rows held out, the accuracy is between 96.6% and 98.5%" in model_card.render(report())


def test_large_majority_class_adds_accuracy_warning() -> None:
    warnings = evaluation_warnings.find(report())
    assert any("97.7% of the rows held out are of class `no`: accuracy is not informative" in text for text in warnings)
    assert not any("accuracy says little" in text for text in evaluation_warnings.find(_even(report())))
    said = "> **Warning:** 97.7% of the rows held out are of class \\`no\\`: accuracy is not informative"
    assert said in model_card.render(report(warnings=warnings))


def test_model_below_baseline_adds_warning() -> None:
    gate = {**report()["gate"], "beats_baseline": False}
    assert any(
        "does not beat the baseline (accuracy 0.9550)" in text for text in evaluation_warnings.find(report(gate=gate))
    )


def test_adapted_parameters_and_small_holdout_add_warnings() -> None:
    few = evaluation_warnings.find(report(adapted={"min_data_in_leaf": [20, 3]}, training_rows=15, holdout_rows=4))
    assert any("15 training rows: min_data_in_leaf 3 instead of 20" in text for text in few)
    assert any("Only 4 rows are held out" in text for text in few)


def test_card_reports_batch_size_reduced_by_memory() -> None:
    text = model_card.render(report(reduced={"rows per step": [128, 32]}))
    assert "> Memory ran short: rows per step were reduced from 128 to 32" in text
    assert "Memory ran short" not in model_card.render(report())


def test_class_name_with_markup_stays_in_table_row() -> None:
    body = report()
    body["scores"]["per_class"][1]["class"] = "a|b\nc"
    assert "| a\\|b c | 0.500 | 0.300 | 0.375 | 23 |" in model_card.render(body)


HOSTILE = (
    "<img src=x onerror=alert(1)>", "![p](http://evil/x.png)", "[here](javascript:alert(1))", "[a]: http://evil",
    "`</code><b>", "# Gate: passes", "a\n\n![x](http://evil/y.png)", "![loss](../loss.svg)", "**bold** ~~x~~",
    "- item", "1. item", "<!-- cut", "\u2028> quote", "\x1b[31mred", "a|b", "&lt;b&gt;",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_data_text_is_escaped_in_card(text: str) -> None:
    assert tokens(model_card.render(_filled(text))) == tokens(model_card.render(_filled("word")))


def _filled(text: str) -> dict[str, Any]:
    """Return a report with a text at each place that takes one from data or from people."""
    stable = {"version": "model_v1.0", "scores": {}, "note": text}
    body = report(target=text, warnings=[text], holdout=text, stable=stable)
    body["scores"]["per_class"][1]["class"] = text
    body["gate"]["verdict"] = text
    return body


def tokens(markdown: str) -> list[str]:
    """Return the kinds of blocks and spans that a parser of CommonMark with tables finds, except for text."""
    found: list[str] = []
    for block in MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown):
        found += [block.type, *(span.type for span in block.children or () if span.type != "text")]
    return found


@pytest.mark.parametrize("text", HOSTILE)
def test_table_cell_neutralizes_markup_and_keeps_visible_text(text: str) -> None:
    shown = escape_active_markup(text)
    assert not {"image", "link_open", "html_inline", "html_block"} & set(tokens(shown))
    assert shown.replace("\u2060", "") == text


@pytest.mark.parametrize("word", ["Wilson", "Per class"])
def test_regression_card_has_no_class_sections(word: str) -> None:
    scores = {"mae": 1.0, "rmse": 2.0, "r2": None}
    text = model_card.render(
        report(
            task="regression",
            classes=None,
            scoring={"positive_class": None, "quantile": 0.9},
            scores=scores,
            baseline=scores,
        )
    )
    assert word not in text
    assert "| r2 | – | – |" in text
    assert "- **quantile of quantile_loss**: 0.9" in text


def test_card_names_added_stages_with_the_rows_they_dropped() -> None:
    text = model_card.render(report(stages={"join_bureau": 5, "drop_tests": 0}))
    assert "- **stages of own code**: `join_bureau` (5 rows dropped), `drop_tests` (0 rows dropped); a request" in text
    assert "stages of own code" not in model_card.render(report())


def test_card_names_the_features_that_derive_adds() -> None:
    text = model_card.render(report(derived_features=["city_target", "log_income"]))
    assert "- **features derived**: `city_target`, `log_income`\n" in text
    # Reports of earlier releases do not have them.
    assert "features derived" not in model_card.render(report())


def test_card_lists_columns_left_out_with_reasons() -> None:
    unused = {f"c{number}": "text" for number in range(22)} | {"empty": "no value in the training rows"}
    shown = model_card.render(report(unused_columns=unused))
    assert "- **columns left out**: `c0` (text), `c1` (text)," in shown
    assert "`c19` (text), 3 more\n" in shown
