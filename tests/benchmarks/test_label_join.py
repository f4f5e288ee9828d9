"""The benchmark of the label join: it joins all pairs, and reports ratios."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import label_join
from benchmarks.measure import BenchmarkError, Cost


def test_ratios_are_of_the_medians() -> None:
    costs = {"own": [Cost(1, 2.0, 100), Cost(1, 4.0, 300), Cost(1, 9.0, 200)], "other": [Cost(1, 1.0, 400)]}

    [header, own, other] = label_join.render(costs).splitlines()
    assert header.split() == ["CPU", "s", "ratio", "MiB", "ratio"]
    assert own.split() == ["own", "4.0", "1.00", "200", "1.00"]
    assert other.split() == ["other", "1.0", "0.25", "400", "2.00"]


@pytest.mark.integration
def test_own_join_is_measured_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label_join.main(["--pairs", "500", "--rounds", "1", "--only-own", "--json", str(tmp_path / "figures.json")])

    assert "500 pairs, 1 rounds" in capsys.readouterr().out
    [[cpu, memory]] = json.loads((tmp_path / "figures.json").read_text())["own"]
    assert cpu > 0
    assert memory > 50


@pytest.mark.integration
def test_missing_pair_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = label_join.write
    monkeypatch.setattr(label_join, "write", lambda folder, pairs: write(folder, pairs - 1))

    with pytest.raises(BenchmarkError, match="joined other rows: 499"):
        label_join.main(["--pairs", "500", "--rounds", "1", "--only-own"])
