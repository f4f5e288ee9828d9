"""LightGBM by its C API: loads in milliseconds and predicts a row in microseconds, without the Python package.

Functions and constants: https://lightgbm.readthedocs.io/en/stable/C-API.html.
"""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
from pathlib import Path
from typing import Any

from ai_workflow.errors import AiWorkflowError
from ai_workflow.inference.worker import LoadedFunctions, Predict

_FLOAT32 = 0  # C_API_DTYPE_FLOAT32
_ROW_MAJOR, _NORMAL, _FROM_FIRST, _ALL = 1, 0, 0, -1
_CONTRIBUTIONS = 3  # C_API_PREDICT_CONTRIB
# LightGBM has no contributions for such trees.
_LINEAR_TREE = b"\nis_linear=1\n"
_PARAMETERS = b"num_threads=1 predict_disable_shape_check=true"
# Up to this many rows, a call for each row is faster than one call for all.
_SINGLE_ROW_CALLS = 32
# Part of LightGBM's error texts when memory runs out.
_NO_MEMORY = "bad_alloc"


def load(model: int, features: int) -> LoadedFunctions:
    """Return the functions of a LightGBM text model.

    Args:
        model: an open file with the model; a zero byte follows it.
        features: number of float32 values in each row.

    Raises:
        AiWorkflowError: the model is damaged, or takes another number of features.
    """
    text = mmap.mmap(model, 0, access=mmap.ACCESS_COPY)
    library = _library()
    booster, classes = ctypes.c_void_p(), ctypes.c_int()
    address = (ctypes.c_char * len(text)).from_buffer(text)
    _call(library, "LGBM_BoosterLoadModelFromString", address, ctypes.byref(ctypes.c_int()), ctypes.byref(booster))
    _call(library, "LGBM_BoosterGetNumClasses", booster, ctypes.byref(classes))
    expected = ctypes.c_int()
    _call(library, "LGBM_BoosterGetNumFeature", booster, ctypes.byref(expected))
    if expected.value != features:
        raise AiWorkflowError(f"the model takes {expected.value} features, and its feature spec has {features}")
    is_binary = text.find(b"\nobjective=binary") >= 0
    predict, outputs = _predict_function(library, booster, features, classes.value, is_binary)
    if text.find(_LINEAR_TREE) >= 0:
        return LoadedFunctions(predict, outputs)
    return LoadedFunctions(predict, outputs, _contributions(library, booster, features, classes.value, is_binary))


def _predict_function(
    library: Any, booster: ctypes.c_void_p, features: int, classes: int, is_binary: bool
) -> tuple[Predict, int]:
    fast, written = ctypes.c_void_p(), ctypes.c_int64()
    many, single = "LGBM_BoosterPredictForMat", "LGBM_BoosterPredictForMatSingleRowFast"
    init = (booster, _NORMAL, _FROM_FIRST, _ALL, _FLOAT32, features, _PARAMETERS, ctypes.byref(fast))
    _call(library, f"{single}Init", *init)
    row_output = (ctypes.c_double * classes)()
    predict_row, size = getattr(library, single), ctypes.byref(written)

    def predict_batch(address: int, count: int) -> memoryview:
        out = (ctypes.c_double * (count * classes))()
        shape = (_FLOAT32, count, features, _ROW_MAJOR, _NORMAL, _FROM_FIRST, _ALL, _PARAMETERS)
        _call(library, many, booster, ctypes.c_void_p(address), *shape, size, out)
        return _both_classes(out) if is_binary else memoryview(out).cast("B")

    def predict(rows: memoryview, count: int) -> memoryview | bytes:
        address = ctypes.addressof(ctypes.c_char.from_buffer(rows))
        if count > _SINGLE_ROW_CALLS:
            try:
                return predict_batch(address, count)
            except MemoryError:
                pass
            return b"".join(
                _blocks().each(count, lambda start, end: predict_batch(address + start * features * 4, end - start))
            )
        outputs: list[float] = []
        for row in range(count):
            if predict_row(fast, ctypes.c_void_p(address + row * features * 4), size, row_output):
                problem = _error(library)
                raise MemoryError(problem) if _NO_MEMORY in problem else AiWorkflowError(problem)
            outputs += (1 - row_output[0], row_output[0]) if is_binary else row_output
        return memoryview((ctypes.c_double * len(outputs))(*outputs)).cast("B")

    return predict, 2 if is_binary else classes


def _contributions(library: Any, booster: ctypes.c_void_p, features: int, classes: int, is_binary: bool) -> Predict:
    """Return the function of the contributions: (rows, outputs, features + 1), the base value last."""
    width = features + 1
    shape = (features, _ROW_MAJOR, _CONTRIBUTIONS, _FROM_FIRST, _ALL, _PARAMETERS)

    def contributions(rows: memoryview, count: int) -> memoryview:
        address = ctypes.addressof(ctypes.c_char.from_buffer(rows))
        out, written = (ctypes.c_double * (count * classes * width))(), ctypes.c_int64()
        matrix = (ctypes.c_void_p(address), _FLOAT32, count, *shape)
        _call(library, "LGBM_BoosterPredictForMat", booster, *matrix, ctypes.byref(written), out)
        if not is_binary:
            return memoryview(out).cast("B")
        both: list[float] = []
        for start in range(0, count * width, width):
            positive = out[start : start + width]
            # The raw score of the other class is the negative one.
            both += [-value for value in positive]
            both += positive
        return memoryview((ctypes.c_double * len(both))(*both)).cast("B")

    return contributions


def _blocks() -> Any:
    """Return the splitter of a batch that does not fit into memory; imported late to keep other requests fast."""
    from ai_workflow.runtime import memory_pressure

    return memory_pressure.BatchSplitter(
        None, 1, f"{memory_pressure.MORE_MEMORY}, or serve a smaller model: trainer.params.num_leaves, trainer.steps"
    )


def _both_classes(positive: Any) -> memoryview:
    outputs = [value for probability in positive for value in (1 - probability, probability)]
    return memoryview((ctypes.c_double * len(outputs))(*outputs)).cast("B")


def _library() -> Any:
    spec = importlib.util.find_spec("lightgbm")
    if spec is None or spec.origin is None:
        raise AiWorkflowError("LightGBM is not installed. Run make setup")
    libraries = sorted(Path(spec.origin).parent.glob("lib/lib_lightgbm.*"))
    if not libraries:
        raise AiWorkflowError(f"{Path(spec.origin).parent} has no lib_lightgbm. Run make setup")
    return ctypes.CDLL(str(libraries[0]))


def _call(library: Any, name: str, *arguments: Any) -> None:
    if getattr(library, name)(*arguments):
        problem = f"{name}: {_error(library)}"
        raise MemoryError(problem) if _NO_MEMORY in problem else AiWorkflowError(problem)


def _error(library: Any) -> str:
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return bytes(library.LGBM_GetLastError()).decode(errors="replace")
