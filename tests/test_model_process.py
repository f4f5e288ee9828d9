"""What a model's own process promises: whatever the model does, the caller gets answers or one clear error, in time."""

from __future__ import annotations

import os
import re
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from ai_workflow.inference.model_process import ModelFailedError, ModelProcess
from ai_workflow.runtime import memory_pressure
from tests import processes

pytestmark = pytest.mark.integration

ORPHAN = """
    import sys, time
    from ai_workflow.inference.model_process import ModelProcess
    with ModelProcess("model_v1.0", "lightgbm", open(sys.argv[1], "rb").read(), 30):
        print("loaded", flush=True)
        time.sleep(60)
"""


@pytest.fixture(scope="module")
def model() -> bytes:
    """A small regression model of three features."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    data = lightgbm.Dataset(x, x[:, 0] * 2 + x[:, 1])
    return lightgbm.train({"verbosity": -1, "num_threads": 1}, data, 5).model_to_string().encode()


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    before = processes.children()
    yield
    assert processes.children() <= before


def _x(rows: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(rows, 3)).astype(np.float32)


def _process(model: bytes, timeout: float = 30.0, kind: str = "lightgbm") -> ModelProcess:
    return ModelProcess("model_v1.0", kind, model, timeout)


def _child(before: set[int]) -> int:
    (child,) = processes.children() - before
    return child


@pytest.mark.parametrize("rows", [1, 2, 200_000])
@pytest.mark.slow
def test_process_predictions_equal_model_predictions(model: bytes, rows: int) -> None:
    expected = lightgbm.Booster(model_str=model.decode()).predict(_x(rows))
    with _process(model) as process:
        np.testing.assert_array_equal(process.predict(_x(rows)), expected)
        np.testing.assert_array_equal(process.predict(_x(rows)), expected)


@pytest.mark.slow
def test_model_crash_during_load_names_version(model: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    for damaged in (model[: len(model) // 2], b"not a model", b""):
        with pytest.raises(
            ModelFailedError, match=r"the process of model_v1.0 (ended with exit code|was killed by signal)"
        ):
            _process(damaged).__enter__()
    assert capfd.readouterr().err


def test_unknown_model_family_is_rejected(model: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelFailedError, match="ended with exit code 1"), _process(model, kind="nonsense"):
        pass
    assert "nonsense" in capfd.readouterr().err


@pytest.mark.parametrize("rows", [1, pytest.param(200_000, marks=pytest.mark.slow)])
def test_killed_model_process_raises_model_failed(model: bytes, rows: int) -> None:
    before = processes.children()
    with _process(model) as process:
        os.kill(_child(before), signal.SIGKILL)
        with pytest.raises(ModelFailedError, match=r"the process of model_v1.0 was killed by signal 9"):
            process.predict(_x(rows))


@pytest.mark.parametrize("rows", [1, pytest.param(200_000, marks=pytest.mark.slow)])
def test_hung_model_process_times_out(model: bytes, rows: int) -> None:
    before = processes.children()
    process = _process(model)
    with process:
        os.kill(_child(before), signal.SIGSTOP)
        process._timeout = 0.3
        start = time.monotonic()
        with pytest.raises(
            ModelFailedError, match=r"model_v1.0 did not answer: it made no progress for 0.3 s \(model.timeout: 0.3\)"
        ):
            process.predict(_x(rows))
        assert time.monotonic() - start < 20


def test_slow_model_load_times_out(model: bytes) -> None:
    with (
        pytest.raises(ModelFailedError, match=r"did not load: it .* \(model.timeout: 0.01\)"),
        _process(model, timeout=0.01),
    ):
        pass


@pytest.mark.slow
def test_non_finite_predictions_are_rejected(model: bytes) -> None:
    lines = [
        "leaf_value=" + " ".join(["nan"] * len(line.split())) if line.startswith("leaf_value=") else line
        for line in model.decode().splitlines()
    ]
    head = [line for line in lines if not line.startswith("tree_sizes=")]
    with _process("\n".join(head).encode()) as process, pytest.raises(ModelFailedError, match="not finite"):
        process.predict(_x(4))


@pytest.mark.slow
def test_wrong_column_count_raises_model_failed(model: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with _process(model) as process, pytest.raises(ModelFailedError, match="ended with exit code 1"):
        process.predict(np.zeros((2, 7), dtype=np.float32))
    said = capfd.readouterr().err
    assert re.search(r"(?m)^[A-Z]\w+: .*\b7\b", said), "one line with what the library says"
    assert "Traceback" not in said


@pytest.mark.slow
def test_model_process_exits_with_parent(model: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("model") / "model.txt"
    path.write_bytes(model)
    caller = processes.start(ORPHAN, path)
    assert caller.stdout
    assert caller.stdout.readline() == "loaded\n"
    caller.send_signal(signal.SIGKILL)
    # The pipe ends only when the model's process, which holds it too, has ended.
    caller.communicate(timeout=10)


@pytest.mark.slow
def test_model_process_predicts_in_smaller_blocks_under_memory_limit(
    model: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    x, expected = _x(400_000), lightgbm.Booster(model_str=model.decode()).predict(_x(400_000))
    before = processes.children()
    with _process(model) as process:
        # Threads and libraries of the first use are not the memory that the rows take.
        process.predict(_x(20_000))
        pid = _child(before)
        used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (used + (9 << 20), resource.RLIM_INFINITY))
        np.testing.assert_array_equal(process.predict(x), expected)
    assert "Data batch size reduced from 400000 to 200000 due to memory pressure" in caplog.messages


def test_out_of_memory_for_few_rows_raises_error_with_remedy(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    process = _process(model)

    def starved(*_: object) -> bytes:
        raise memory_pressure.OutOfMemoryError("model_v1.0: memory ran out", "Train a smaller model")

    monkeypatch.setattr(process, "_request", starved)
    with pytest.raises(MemoryError, match=r"model_v1.0: memory ran out\. Train a smaller model"):
        process.predict(_x(300))
