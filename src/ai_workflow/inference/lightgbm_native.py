"""LightGBM by its C API alone: loaded in milliseconds, a row answered in microseconds, without the Python package.

Functions and constants: https://lightgbm.readthedocs.io/en/stable/C-API.html.
"""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
from pathlib import Path
from typing import Any

from ai_workflow.errors import AiWorkflowError
from ai_workflow.inference.worker import Answer

_FLOAT32 = 0  # C_API_DTYPE_FLOAT32
_ROW_MAJOR, _NORMAL, _FROM_FIRST, _ALL = 1, 0, 0, -1
_PARAMETERS = b"num_threads=1 predict_disable_shape_check=true"
# For so few rows, one call each is quicker than one for all.
_FEW = 32
# How LightGBM's errors say that memory ran out.
_NO_MEMORY = "bad_alloc"


def load(model: int, features: int) -> tuple[Answer, int]:
    """Return what answers (rows, features) float32 by a LightGBM text, and how many numbers it gives for each row."""
    text = mmap.mmap(model, 0, access=mmap.ACCESS_COPY)
    library = _library()
    booster, classes = ctypes.c_void_p(), ctypes.c_int()
    place = (ctypes.c_char * len(text)).from_buffer(text)
    _call(library, "LGBM_BoosterLoadModelFromString", place, ctypes.byref(ctypes.c_int()), ctypes.byref(booster))
    _call(library, "LGBM_BoosterGetNumClasses", booster, ctypes.byref(classes))
    expected = ctypes.c_int()
    _call(library, "LGBM_BoosterGetNumFeature", booster, ctypes.byref(expected))
    if expected.value != features:
        raise AiWorkflowError(f"the model takes {expected.value} features, and its feature spec has {features}")
    return _answering(library, booster, features, classes.value, text.find(b"\nobjective=binary") >= 0)


def _answering(library: Any, booster: ctypes.c_void_p, features: int, classes: int, binary: bool) -> tuple[Answer, int]:
    fast, written = ctypes.c_void_p(), ctypes.c_int64()
    many, single = "LGBM_BoosterPredictForMat", "LGBM_BoosterPredictForMatSingleRowFast"
    init = (booster, _NORMAL, _FROM_FIRST, _ALL, _FLOAT32, features, _PARAMETERS, ctypes.byref(fast))
    _call(library, f"{single}Init", *init)
    one = (ctypes.c_double * classes)()
    predict_row, size = getattr(library, single), ctypes.byref(written)
    begin = ctypes.addressof

    def at_once(place: int, count: int) -> memoryview:
        out = (ctypes.c_double * (count * classes))()
        shape = (_FLOAT32, count, features, _ROW_MAJOR, _NORMAL, _FROM_FIRST, _ALL, _PARAMETERS)
        _call(library, many, booster, ctypes.c_void_p(place), *shape, size, out)
        return _both(out) if binary else memoryview(out).cast("B")

    def answer(rows: memoryview, count: int) -> memoryview | bytes:
        place = begin(ctypes.c_char.from_buffer(rows))
        if count > _FEW:
            try:
                return at_once(place, count)
            except MemoryError:
                pass
            return b"".join(
                _blocks().each(count, lambda start, end: at_once(place + start * features * 4, end - start))
            )
        answers: list[float] = []
        for row in range(count):
            if predict_row(fast, ctypes.c_void_p(place + row * features * 4), size, one):
                problem = _error(library)
                raise MemoryError(problem) if _NO_MEMORY in problem else AiWorkflowError(problem)
            answers += (1 - one[0], one[0]) if binary else one
        return memoryview((ctypes.c_double * len(answers))(*answers)).cast("B")

    return answer, 2 if binary else classes


def _blocks() -> Any:
    """Return blocks of rows for a request that does not fit into memory; the import takes time that others do not."""
    from ai_workflow.runtime import memory_pressure

    return memory_pressure.BatchSplitter(
        None, 1, f"{memory_pressure.MORE_MEMORY}, or serve a smaller model: trainer.params.num_leaves, trainer.steps"
    )


def _both(positive: Any) -> memoryview:
    answers = [value for one in positive for value in (1 - one, one)]
    return memoryview((ctypes.c_double * len(answers))(*answers)).cast("B")


def _library() -> Any:
    spec = importlib.util.find_spec("lightgbm")
    if spec is None or spec.origin is None:
        raise AiWorkflowError("LightGBM is not installed. Run make setup")
    found = sorted(Path(spec.origin).parent.glob("lib/lib_lightgbm.*"))
    if not found:
        raise AiWorkflowError(f"{Path(spec.origin).parent} holds no lib_lightgbm. Run make setup")
    return ctypes.CDLL(str(found[0]))


def _call(library: Any, name: str, *arguments: Any) -> None:
    if getattr(library, name)(*arguments):
        problem = f"{name}: {_error(library)}"
        raise MemoryError(problem) if _NO_MEMORY in problem else AiWorkflowError(problem)


def _error(library: Any) -> str:
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return bytes(library.LGBM_GetLastError()).decode(errors="replace")
