"""What plots promise: the same figures give the same bytes, and any name gives valid XML."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from ai_workflow.evaluation import plots
from tests import processes
from tests.evaluation_reports import report

pytestmark = pytest.mark.integration

NAMES = ["$\\bad$", "$a$", "<&>\"'", "größer 模型", "line\nbreak", "bell\x07", "\x1b[31m"]
DIGEST = """
    import hashlib
    from ai_workflow.evaluation import plots
    from tests.evaluation_reports import report
    print(hashlib.sha256(b"".join(plots.draw(report()).values())).hexdigest())
"""


def test_classification_has_loss_importance_and_confusion_plots() -> None:
    assert set(plots.draw(report())) == {
        "loss.svg", "features.svg", "confusion.svg", "roc.svg", "precision_recall.svg", "calibration.svg"
    }  # fmt: skip


def test_regression_has_prediction_plot() -> None:
    drawn = plots.draw(report(task="regression", classes=None, sample=[[1.0, 1.5], [2.0, 2.0]], importance=[]))
    assert set(drawn) == {"loss.svg", "answers.svg"}


def test_equal_reports_give_identical_plot_bytes() -> None:
    assert plots.draw(report()) == plots.draw(report())
    assert plots.draw(report()) != plots.draw(report(losses=[[1, 0.6], [300, 0.1]]))


@pytest.mark.slow
def test_plot_bytes_are_equal_across_processes() -> None:
    assert len({processes.python(DIGEST, PYTHONHASHSEED=seed, PYTHONPATH=".") for seed in ("0", "1")}) == 1


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", NAMES)
def test_plot_labels_are_valid_xml(name: str) -> None:
    drawn = plots.draw(report(classes=[name, "other"], importance=[{"feature": name, "share": 1.0}]))
    printable = name.isprintable()
    for file in ("confusion.svg", "features.svg"):
        assert (name in _text(drawn[file])) == printable


def test_large_confusion_matrix_is_drawn_without_numbers() -> None:
    classes = [f"class {number}" for number in range(25)]
    matrix = [[0] * 25 for _ in classes]
    drawn = plots.draw(report(classes=classes, scores={"confusion": matrix}))
    assert "class 24" in _text(drawn["confusion.svg"])


def _text(svg: bytes) -> str:
    """Return the text of a plot; XML that is not valid fails."""
    return "".join(ET.fromstring(svg).itertext())  # noqa: S314
