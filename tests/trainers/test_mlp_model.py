"""What the file of a perceptron promises: any reader reads it, NumPy answers from it, damage is an error."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from ai_workflow.errors import StageError
from ai_workflow.inference.model_process import ModelFailedError, ModelProcess
from ai_workflow.runtime import memory_pressure
from ai_workflow.training import feature_inputs, protocol
from ai_workflow.training.families import mlp_model, torch_mlp
from tests import processes

WITHOUT = """
    import sys
    class Blocked:
        def find_spec(self, name, *_):
            if name.partition(".")[0] == "torch":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    sys.meta_path.insert(0, Blocked())
    import numpy as np
    from ai_workflow.training import protocol as trainers
    from ai_workflow.errors import StageError
    print(trainers.load("torch_mlp", open(sys.argv[1], "rb").read())(np.zeros((2, 3), "float32")).shape)
    try:
        trainers.trainer("torch_mlp")
    except StageError as error:
        print(error)
"""

# The limit of the second half is that of the model's own process.
STARVED = """
    import logging, resource
    import numpy as np
    from ai_workflow.telemetry import logs
    from ai_workflow.inference.model_process import ModelProcess
    from ai_workflow.training.families import mlp_model
    draw, wide = np.random.default_rng(0), 300_000
    shapes = {"layer0.weight": (wide, 2), "layer0.bias": (wide,), "layer1.weight": (3, wide), "layer1.bias": (3,)}
    tensors = {name: draw.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    about = {"task": "classification", "layers": 2, "numeric": [0, 1], "categories": []}
    model = mlp_model.serialize(tensors | {"mean": np.zeros(2), "scale": np.ones(2)}, about)
    x = draw.normal(size=(300, 2)).astype("float32")
    def used(pid):
        return int(open(f"/proc/{pid}/statm").read().split()[0]) * resource.getpagesize()
    whole = mlp_model.load(model)(x)
    predict = mlp_model.load(model)
    free = resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_AS, (used("self") + (100 << 20), free))
    print("here", predict(x).tobytes() == whole.tobytes())
    resource.setrlimit(resource.RLIMIT_AS, (free, free))
    lines = []
    class Kept(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())
    with ModelProcess("model_v1.0", "torch_mlp", model, 60) as process:
        process.predict(x[:1])
        pid = process._process.pid
        resource.prlimit(pid, resource.RLIMIT_AS, (used(pid) + (100 << 20), free))
        logging.getLogger(logs.ROOT).addHandler(Kept())
        print("process", process.predict(x).tobytes() == whole.tobytes(), lines)
"""


def model(task: str = "classification") -> bytes:
    draw = np.random.default_rng(0)
    shapes = {"layer0.weight": (8, 6), "layer0.bias": (8,), "layer1.weight": (3, 8), "layer1.bias": (3,)}
    tensors = {name: draw.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    about = {
        "task": task, "layers": 2, "numeric": [0, 2], "categories": [(1, 2)],
        "target_mean": 5.0, "target_scale": 2.0,
    }  # fmt: skip
    return mlp_model.serialize(tensors | {"mean": np.array([1.0, 2.0]), "scale": np.array([3.0, 4.0])}, about)


def rows(count: int) -> np.ndarray:
    draw = np.random.default_rng(1)
    x = draw.normal(size=(count, 3)).astype("float32")
    x[:, 1] = draw.choice([0, 1, 2, math.nan], count)
    return x


def test_model_file_is_readable_by_safetensors() -> None:
    read = safetensors.numpy.load(model())
    ours, _ = mlp_model.deserialize(model())
    assert read.keys() == ours.keys()
    assert all((read[name] == ours[name]).all() and read[name].dtype == ours[name].dtype for name in ours)


def test_predictions_match_formula() -> None:
    tensors, _ = mlp_model.deserialize(model())
    x = np.array([[4, 1, math.nan], [1, 7, 6], [1, math.nan, 2]], "float32")
    inputs = np.array([[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]])
    hidden = np.maximum(inputs @ tensors["layer0.weight"].T + tensors["layer0.bias"], 0)
    out = hidden @ tensors["layer1.weight"].T + tensors["layer1.bias"]
    power = np.exp(out)
    assert mlp_model.load(model())(x) == pytest.approx(power / power.sum(axis=1, keepdims=True), rel=1e-5)
    assert mlp_model.load(model("regression"))(x) == pytest.approx(out[:, 0] * 2 + 5, rel=1e-5)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_row_prediction_does_not_depend_on_other_rows(task: str) -> None:
    predict, x = mlp_model.load(model(task)), rows(1000)
    whole = predict(x)
    for size in (1, 7, 128, 300):
        pieces = [predict(x[start : start + size]) for start in range(0, 1000, size)]
        assert np.concatenate(pieces).tolist() == whole.tolist()
    turned = np.random.default_rng(2).permutation(1000)
    assert predict(x[turned]).tolist() == whole[turned].tolist()
    assert predict(x[:0]).shape == whole[:0].shape


@pytest.mark.integration
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_predictions_with_halved_blocks_are_bit_identical(
    task: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    x, encode = rows(333), feature_inputs.FeatureEncoder.encode
    whole = mlp_model.load(model(task))(x)
    for most in (100, 40, 16, 0):

        def short(self: feature_inputs.FeatureEncoder, x: np.ndarray, most: int = most) -> np.ndarray:
            if len(x) > most:
                raise MemoryError
            return encode(self, x)

        monkeypatch.setattr(feature_inputs.FeatureEncoder, "encode", short)
        if most:
            assert mlp_model.load(model(task))(x).tobytes() == whole.tobytes()
    assert "Data batch size reduced from 128 to 64 due to memory pressure" in caplog.messages
    with pytest.raises(
        memory_pressure.OutOfMemoryError, match=r"with 16 rows at once\. Give .*: trainer\.params\.hidden"
    ):
        mlp_model.load(model(task))(x)
    monkeypatch.setattr(mlp_model, "deserialize", lambda _: short(feature_inputs.FeatureEncoder([], x, x, []), x))
    with pytest.raises(
        memory_pressure.OutOfMemoryError, match=r"while the model was loaded\. Give .*: trainer\.params"
    ):
        protocol.load("torch_mlp", model(task))


@pytest.mark.slow
def test_wide_network_predicts_in_smaller_blocks_under_memory_limit() -> None:
    said = processes.python(STARVED, OPENBLAS_NUM_THREADS="1").splitlines()
    assert "Data batch size reduced from 128 to 64 due to memory pressure" in said
    assert "here True" in said
    assert said[-1].startswith("process True ['Data batch size reduced from 128 to 64 due to memory pressure'")


def test_extreme_values_give_finite_predictions() -> None:
    x = np.array([[3e38, 0, -3e38], [math.inf, -math.inf, math.nan], [0, 1e30, 0], [0, -5, 0]], "float32")
    with np.errstate(all="raise"):
        assert np.isfinite(mlp_model.load(model())(x)).all()


def test_damaged_model_file_raises_value_error() -> None:
    whole = model()
    wrong = whole[:8] + json.dumps({"__metadata__": {}}).encode()
    for damaged in (b"", whole[:5], whole[:40], whole[:-1], b"\xff" * 100, struct.pack("<Q", 2) + b"{}", wrong):
        with pytest.raises(ValueError, match="not the safetensors file"):
            mlp_model.load(damaged)


@pytest.mark.integration
def test_model_predicts_in_separate_process() -> None:
    with ModelProcess("model_v1.0", "torch_mlp", model(), 30) as process:
        assert process.predict(rows(300)).tolist() == mlp_model.load(model())(rows(300)).tolist()
    with (
        pytest.raises(ModelFailedError, match="ended with exit code 1"),
        ModelProcess("v", "torch_mlp", model()[:90], 30),
    ):
        pass


@pytest.mark.integration
def test_prediction_works_without_pytorch_and_training_suggests_install(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(model())
    assert processes.python(WITHOUT, path).splitlines() == [
        "(2, 3)",
        "trainer.kind torch_mlp needs PyTorch. Install it: .venv/bin/pip install -e '.[torch]'",
    ]


def test_broken_pytorch_installation_error_names_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    real = __import__

    def broken(name: str, *args: object, **named: object) -> object:
        if name == "ai_workflow.training.families" and args[2] == ("torch_network",):
            raise ImportError("libcudart.so.13: cannot open shared object file")
        return real(name, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("builtins.__import__", broken)
    with pytest.raises(StageError, match=r"the one here does not load: libcudart\.so\.13"):
        torch_mlp.Trainer()
