"""The resume benchmark: it kills and resumes real trainings, and does not embellish."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import resume
from benchmarks.resume import Round


@pytest.mark.parametrize(("saving", "verdict"), [(0.0299, "met"), (0.0301, "missed")])
def test_a_goal_that_is_missed_is_called_so(saving: float, verdict: str) -> None:
    fractions = {str(fraction): 1.25 for fraction in resume.FRACTIONS}
    steps = {str(fraction): 50 for fraction in resume.FRACTIONS}

    text = resume.render([Round(10.0, fractions, steps, saving, 1.01)], "here")

    assert f"{verdict:<7}saving takes {saving:.2%} of the training, at most 3%" in text
    assert text.count("1.25 / 1.25 / 1.25") == 3


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_kills_and_resumes_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resume.main(["--rounds", "1", "--rows", "5000", "--steps", "400", "--json", str(tmp_path / "found.json")])

    [found] = json.loads((tmp_path / "found.json").read_text())["rounds"]
    assert found["killed"].keys() == {"0.25", "0.5", "0.9"}
    assert min(found["killed"].values()) > 1
    assert found["resumed_from"]["0.9"] >= 200
    assert "killed at 90% and resumed" in capsys.readouterr().out
