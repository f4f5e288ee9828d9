"""What the samples promise: the same rows everywhere, classes that people can read."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ai_workflow.stages import data_loader
from ai_workflow.storage.store import Store
from tests.sources.loading import frame, load, sample


@pytest.mark.parametrize(
    ("name", "rows", "columns", "classes"),
    [
        ("digits", 1797, 65, {str(digit) for digit in range(10)}),
        ("breast_cancer", 569, 31, {"malignant", "benign"}),
        ("wine", 178, 14, {"class_0", "class_1", "class_2"}),
        ("iris", 150, 5, {"setosa", "versicolor", "virginica"}),
    ],
)
def test_sample_classes_are_words(store: Store, name: str, rows: int, columns: int, classes: set[str]) -> None:
    found = frame(store, sample(name))
    assert found.shape == (rows, columns + 1)
    assert set(found["target"]) == classes
    assert list(found["__row"]) == list(range(1, rows + 1))


def test_diabetes_sample_has_numeric_target(store: Store) -> None:
    dataset = load(store, sample("diabetes"))
    assert dataset.rows == 442
    assert dataset.info["columns"][-1] == {"name": "target", "type": "number"}
    assert {part.source for part in dataset.partitions} == {"diabetes"}


def test_sample_is_identified_by_version_and_synthetic_by_parameters() -> None:
    assert set(data_loader.inspect(sample("digits"))[0]) == {"name", "version"}
    found = data_loader.inspect(sample("synthetic", rows=5, seed=3, drift=0.5))[0]
    assert found | {"version": ""} == {
        "name": "synthetic", "rows": 5, "seed": 3, "drift": 0.5, "concept_drift": 0.0, "version": "",
    }  # fmt: skip


@pytest.mark.integration
def test_synthetic_partitions_are_written_once_and_reused(store: Store) -> None:
    source = sample("synthetic", rows=120_001, partition_rows=50_000)
    first = load(store, source)
    assert [part.rows for part in first.partitions] == [50_000, 50_000, 20_001]
    assert {column["type"] for column in first.info["columns"]} == {
        "integer",
        "number",
        "string",
        "boolean",
        "datetime",
    }
    times = [store.local(part.path).stat().st_mtime_ns for part in first.partitions]
    longer = load(store, sample("synthetic", rows=150_000, partition_rows=50_000))
    assert longer.partitions[:2] == first.partitions[:2]
    assert load(store, source) == first
    assert [store.local(part.path).stat().st_mtime_ns for part in first.partitions] == times


@pytest.mark.slow
def test_synthetic_load_memory_does_not_grow_with_rows(tmp_path: object) -> None:
    program = (
        "import resource, sys; from ai_workflow.storage.store import Store;"
        "from ai_workflow.stages import data_loader as d;"
        "from ai_workflow.config.settings import SampleSource;"
        "s = SampleSource(kind='sample', name='synthetic', rows=int(sys.argv[1]), partition_rows=50_000);"
        "d.load(Store(sys.argv[2]), s, d.inspect(s));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )

    def peak(rows: int) -> int:
        command = [sys.executable, "-c", program, str(rows), f"{tmp_path}/var"]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert peak(1_500_000) < 1.5 * peak(150_000)
