"""Contributions of the features: those of LightGBM's own package, and those of an own model, checked."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from ai_workflow.errors import StageError
from ai_workflow.inference import lightgbm_native, python_runtime
from ai_workflow.inference.model_file import sealed
from ai_workflow.training import contributions, protocol
from tests.own_code import TeamFolder
from tests.trainers import test_mlp_model
from tests.trainers.training_rows import KINDS, table

KIND = "explained_team_models:Boost"
OWN = """
    import numpy as np

    class Boost:
        library, model_file, batch_size = "numpy", "model.npy", None
        def start(self, data, options, batch_size=128): pass
        def step(self): return True
        def loss(self): return 0.5
        def save(self): return b""
        def load(self, state): pass
        def finish(self, step): return b"2"

    class Linear:
        def __call__(self, x):
            return np.nan_to_num(x) @ np.arange(x.shape[1]) + 7
        def contributions(self, x):
            assert len(x) == 16
            return np.column_stack([np.nan_to_num(x) * np.arange(x.shape[1]), np.full(len(x), 7)])

    def load(model):
        return Linear()
"""


@pytest.fixture
def team(tmp_path: Path) -> Iterator[TeamFolder]:
    folder = TeamFolder(tmp_path)
    yield folder
    folder.forget()


def trained(kind: str, **params: object) -> tuple[lightgbm.Booster, np.ndarray]:
    x, y = table(kind, 300)
    objective = {"objective": kind, "num_threads": 1, "verbosity": -1, **({"num_class": 3} if "multi" in kind else {})}
    data = lightgbm.Dataset(x, y, categorical_feature=[3])
    return lightgbm.train(objective | params, data, 5), x


def expected(booster: lightgbm.Booster, kind: str, x: np.ndarray) -> np.ndarray:
    """Return (n, outputs, features + 1) by LightGBM's package."""
    values = np.asarray(booster.predict(x, pred_contrib=True)).reshape(len(x), -1, x.shape[1] + 1)
    return np.concatenate([-values, values], axis=1) if kind == "binary" else values


@pytest.mark.unit
@pytest.mark.parametrize("kind", KINDS)
def test_contributions_equal_those_of_lightgbm_and_add_up_to_the_raw_score(kind: str) -> None:
    booster, x = trained(kind)
    explain = contributions.of(protocol.load("lightgbm", booster.model_to_string().encode()))
    assert explain is not None
    values = explain(x).reshape(len(x), -1, x.shape[1] + 1)
    assert np.array_equal(values, expected(booster, kind, x))
    raw = np.asarray(booster.predict(x, raw_score=True)).reshape(len(x), -1)
    sums = values.sum(axis=2)
    assert np.allclose(sums[:, 1:] if kind == "binary" else sums, raw, rtol=1e-9, atol=1e-9)


@pytest.mark.unit
@pytest.mark.parametrize("kind", KINDS)
def test_worker_contributions_equal_those_of_the_python_package(kind: str) -> None:
    booster, x = trained(kind)
    handle = sealed("model_v1.0", booster.model_to_string().encode())
    model = lightgbm_native.load(handle, x.shape[1])
    os.close(handle)
    assert model.contributions is not None
    found = bytes(model.contributions(memoryview(bytearray(x.tobytes())), len(x)))
    known = expected(booster, kind, x)
    assert struct.unpack(f"<{known.size}d", found) == tuple(known.ravel().tolist())


@pytest.mark.unit
def test_linear_trees_have_no_contributions() -> None:
    booster, x = trained("regression", linear_tree=True)
    text = booster.model_to_string().encode()
    handle = sealed("model_v1.0", text)
    assert contributions.of(protocol.load("lightgbm", text)) is None
    assert lightgbm_native.load(handle, x.shape[1]).contributions is None
    os.close(handle)


@pytest.mark.unit
def test_family_without_contributions_has_none_in_its_worker() -> None:
    handle = sealed("model_v1.0", test_mlp_model.model())
    assert python_runtime.load("torch_mlp", handle, 3).contributions is None
    os.close(handle)


@pytest.mark.unit
def test_own_model_with_contributions_is_explained_in_its_worker(team: TeamFolder) -> None:
    team.write("explained_team_models.py", OWN)
    protocol.check_model(KIND, b"2", {"features": [{}] * 3, "classes": None})  # type: ignore[typeddict-item]
    handle = sealed("model_v1.0", b"2")
    model = python_runtime.load(KIND, handle, 3)
    os.close(handle)
    assert model.contributions is not None
    rows = np.arange(60, dtype="<f4").reshape(20, 3)
    found = np.frombuffer(model.contributions(memoryview(bytearray(rows.tobytes())), 20)).reshape(20, 4)
    assert found[1].tolist() == [0.0, 4.0, 10.0, 7.0]
    assert np.allclose(found.sum(axis=1), protocol.load(KIND, b"2")(rows))


@pytest.mark.unit
@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("np.full(len(x), 7)", "np.full(len(x), 7)] * 2 + [x[:, 0]", "have the shape (2, 9), and (2, 4) is required"),
        ("assert len(x) == 16", "return 'none'", "the contributions for 16 rows: <U4 of shape ()"),
        ("assert len(x) == 16", "1 / 0", "contributions raised ZeroDivisionError: division by zero at "),
        ("return Linear()", "Linear.contributions = 5; return Linear()", "contributions of the loaded model is int"),
    ],
)
def test_wrong_contributions_of_an_own_model_end_its_training(
    team: TeamFolder, before: str, after: str, said: str
) -> None:
    text = OWN.replace(before, after)
    assert text != OWN
    team.write("explained_team_models.py", text)
    with pytest.raises(StageError) as raised:
        protocol.check_model(KIND, b"2", {"features": [{}] * 3, "classes": None})  # type: ignore[typeddict-item]
    assert said in str(raised.value)
