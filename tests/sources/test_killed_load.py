"""Killed while a large text file is read in place, the data stages end with the same bytes and repeat no partition."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
ROWS, KILLS = 120_000, 6
_STAGES = """
import sys
import pandas, pyarrow.compute, pyarrow.csv, pyarrow.parquet
from ai_workflow.config import loader
from ai_workflow.stages import data_loader, feature_engineering, preprocessor
from ai_workflow.storage.store import Store
settings = loader.load(sys.argv[1]).settings
store = Store(sys.argv[2])
print("begins", flush=True)
loaded = data_loader.load(store, settings.source, data_loader.inspect(settings.source), settings.database)
clean = preprocessor.preprocess(store, loaded, preprocessor.RowRules.of(settings))
feature_engineering.fit(store, clean, feature_engineering.ColumnRoles.of(settings), settings.features)
"""
_PIPELINE = """
pipeline: killed
task: classification
id: key
timestamp: seen
target: good
source: {source}
"""
_SOURCES = {
    "csv": '{{kind: csv, path: "{path}", partition_rows: 15000}}',
    "own": '{{kind: "team_rows:Table", params: {{path: "{path}"}}, partition_rows: 15000}}',
}
_OWN = """
import pandas as pd

class Table:
    def __init__(self, path):
        self.path = path

    def version(self):
        return "1"

    def read(self):
        yield from pd.read_csv(self.path, chunksize=20_000)
"""


@pytest.fixture(params=["csv", pytest.param("own", marks=pytest.mark.soak)])
def pipeline(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A pipeline with a CSV file of several pieces, which is read in place or by own code."""
    draw = np.random.default_rng(5)
    days = np.datetime64("2025-01-01") + draw.integers(0, 300, ROWS)
    numbers, kinds, good = draw.normal(size=(ROWS, 3)), draw.integers(0, 5, ROWS), draw.integers(0, 2, ROWS)
    path = tmp_path / "rows.csv"
    with path.open("w") as file:
        file.write("key,seen,a,b,c,kind,note,good\n")
        for row in range(ROWS):
            a, b, c = (f"{value:.5f}" for value in numbers[row])
            note = '"two\nlines"' if row % 50 == 0 else f"note {row}"
            file.write(f"k{row},{days[row]},{a if row % 9 else ''},{b},{c},k{kinds[row]},{note},{good[row]}\n")
    (tmp_path / "team_rows.py").write_text(_OWN)
    (tmp_path / "pipeline.yaml").write_text(_PIPELINE.format(source=_SOURCES[request.param].format(path=path)))
    assert path.stat().st_size > 4 << 20
    return tmp_path / "pipeline.yaml"


def start(pipeline: Path, store: Path) -> subprocess.Popen[str]:
    """Start the data stages and return their process as soon as it has imported what it needs."""
    env = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}", "AIW_STORE": str(store)}
    process = subprocess.Popen(
        [sys.executable, "-c", _STAGES, str(pipeline), str(store)], env=env, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "begins\n"
    return process


def ended(pipeline: Path, store: Path) -> float:
    """Run the stages to their end, and return the seconds that they took."""
    with start(pipeline, store) as process:
        began = time.monotonic()
        assert process.wait(240) == 0
        return time.monotonic() - began


def files(store: Path) -> dict[str, bytes]:
    """Return the files of the store; a process that was killed may have left parts of files."""
    paths = (path for path in store.rglob("*") if path.is_file() and path.suffix != ".part")
    return {str(path.relative_to(store)): path.read_bytes() for path in paths}


def partitions(store: Path) -> dict[str, int]:
    """Return the partitions that have a record, with the number of their file on the disk."""
    paths = store.rglob("*-00000.parquet")
    return {str(path): path.stat().st_ino for path in paths if path.with_name(f"{path.stem[:-6]}.json").exists()}


def killed_at_random(pipeline: Path, store: Path, draw: random.Random, seconds: float) -> int:
    """Kill the stages at random moments until they come to their end, and return the number of kills."""
    kills = 0
    while True:
        before = partitions(store)
        with start(pipeline, store) as process:
            time.sleep(draw.uniform(0.05, 0.5) * seconds)
            process.kill()
        assert {path: number for path, number in partitions(store).items() if path in before} == before
        if process.returncode == 0:
            return kills
        kills += 1


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(600)
def test_killed_data_stages_give_identical_files(pipeline: Path, tmp_path: Path) -> None:
    seconds = ended(pipeline, tmp_path / "reference")
    expected = files(tmp_path / "reference")
    in_place = len([name for name in expected if name.endswith(".text.json")])
    assert in_place == (ROWS / 15_000 if "kind: csv" in pipeline.read_text() else 0)
    draw, kills = random.Random(0), 0
    for number in range(KILLS):
        if kills >= KILLS:
            break
        store = tmp_path / f"killed-{number}"
        kills += killed_at_random(pipeline, store, draw, seconds)
        assert files(store) == expected
    assert kills >= KILLS
