"""The resume benchmark: it kills and resumes real trainings, and does not embellish."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import resume
from benchmarks.resume import Round


@pytest.mark.parametrize(
    ("ratio", "said"), [(1.0299, "met    {}+3.0%"), (1.0351, "missed {}+3.5%"), (0.99, "met    {}-1.0%")]
)
def test_report_marks_missed_and_met_goals(ratio: float, said: str) -> None:
    fractions = {str(fraction): 1.25 for fraction in resume.FRACTIONS}
    steps = {str(fraction): 50 for fraction in resume.FRACTIONS}

    text = resume.render([Round(10.0, fractions, steps, 0.006)], [ratio, ratio - 0.1, ratio + 0.1], "here")

    assert said.format("with checkpoints a training takes ") + ", at most +3%" in text
    assert text.count("1.25 / 1.25 / 1.25") == 3


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_resume_benchmark_kills_resumes_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resume.main(
        ["--rounds", "1", "--pairs", "1", "--rows", "2000", "--steps", "200", "--json", str(tmp_path / "found.json")]
    )

    body = json.loads((tmp_path / "found.json").read_text())
    [found] = body["rounds"]
    assert len(body["with_over_without"]) == 1
    assert found["killed"].keys() == {"0.25", "0.5", "0.9"}
    assert min(found["killed"].values()) > 1
    assert found["resumed_from"]["0.9"] >= 100
    assert "killed at 90% and resumed" in capsys.readouterr().out
