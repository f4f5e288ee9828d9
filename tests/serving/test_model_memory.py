"""The models of the service under memory pressure: the same answers, in smaller blocks of rows."""

from __future__ import annotations

import os
from typing import Any
from unittest.mock import Mock

import lightgbm
import numpy as np
import pytest

from ai_workflow.inference import lightgbm_native, python_runtime
from ai_workflow.inference.model_file import sealed
from ai_workflow.runtime import memory_pressure
from ai_workflow.training import feature_inputs
from tests.trainers import test_mlp_model

pytestmark = pytest.mark.integration

CLASSES = {"regression": 1, "binary": 1, "multiclass": 3}


@pytest.mark.parametrize("objective", CLASSES)
def test_lightgbm_out_of_memory_batch_is_split_with_identical_result(
    objective: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(300, 3))
    y = np.digitize(x[:, 0], [0.0] if objective == "binary" else [-0.5, 0.5])
    params = {"objective": objective, "verbosity": -1, "num_threads": 1}
    params |= {"num_class": 3} if objective == "multiclass" else {}
    model = lightgbm.train(params, lightgbm.Dataset(x, y), 5).model_to_string().encode()
    handle = sealed("model_v1.0", model)
    answer = lightgbm_native.load(handle, 3).predict
    os.close(handle)
    rows = bytearray(x.astype("<f4").tobytes())
    whole = bytes(answer(memoryview(rows), 300))
    call, tried = lightgbm_native._call, [0] * 0

    def short(library: Any, name: str, *arguments: Any) -> None:
        if name == "LGBM_BoosterPredictForMat":
            tried.append(arguments[3])
            if arguments[3] > 80:
                raise MemoryError("std::bad_alloc")
        call(library, name, *arguments)

    monkeypatch.setattr(lightgbm_native, "_call", short)
    assert bytes(answer(memoryview(rows), 300)) == whole
    assert tried == [300, 300, 150, 75, 75, 75, 75]
    assert "Data batch size reduced from 300 to 150 due to memory pressure" in caplog.messages


def test_lightgbm_bad_alloc_raises_memory_error() -> None:
    library = Mock()
    library.predict.return_value, library.LGBM_GetLastError.return_value = -1, b"std::bad_alloc"
    with pytest.raises(MemoryError, match="bad_alloc"):
        lightgbm_native._call(library, "predict")


def test_torch_mlp_out_of_memory_batch_is_split(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    handle = sealed("model_v1.0", test_mlp_model.model())
    answer, outputs, _ = python_runtime.load("torch_mlp", handle, 3)
    os.close(handle)
    x = test_mlp_model.rows(128)
    whole, encode = answer(memoryview(bytearray(x.tobytes())), 128), feature_inputs.FeatureEncoder.encode

    def short(self: feature_inputs.FeatureEncoder, x: np.ndarray) -> np.ndarray:
        if len(x) > 70:
            raise MemoryError
        return encode(self, x)

    monkeypatch.setattr(feature_inputs.FeatureEncoder, "encode", short)
    assert bytes(answer(memoryview(bytearray(x.tobytes())), 128)) == bytes(whole)
    assert len(whole) == 128 * outputs * 8
    assert caplog.messages == ["Data batch size reduced from 128 to 64 due to memory pressure"]
    monkeypatch.setattr(feature_inputs.FeatureEncoder, "encode", _never)
    with pytest.raises(memory_pressure.OutOfMemoryError, match="with 16 rows at once"):
        answer(memoryview(bytearray(x.tobytes())), 128)


def _never(*_: object) -> None:
    raise MemoryError
