"""Errors of PyTorch that a person can act on: memory of the host or of a GPU that ran out, and a GPU that fails.

They are recognised by their text: PyTorch raises RuntimeError for most of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ai_workflow.errors import StageError
from ai_workflow.runtime import memory_pressure

_OUT_OF_MEMORY = (
    "can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory", "bad_alloc",
    "bad allocation", "status_alloc_failed", "memory_allocation",
)  # fmt: skip
_GPU = re.compile(r"cuda|cublas|cudnn|cusparse|cusolver|cufft|nccl|nvml|nvidia|\bhip\b|rocblas|miopen", re.IGNORECASE)
# A path or a name in C++ may hold these words; what the CPU's allocator says is not about a GPU.
_HOST = ("defaultcpuallocator", "alloc_cpu")
_ASKED = re.compile(r"[Tt]ried to allocate (\d+(?:\.\d+)?) (bytes|[KMGTP]iB)")
_NUMBER = re.compile(r"\bGPU (\d+)")
_FREE_GPU = "use a GPU with free memory (nvidia-smi), or set trainer.params.device: cpu"
# The rows per step are lowered without a person, and what remains is the size of the network.
_REMEDY = f"Lower trainer.params.hidden, {_FREE_GPU}"
_CPU = "or set trainer.params.device: cpu"
_REMEDIES = {
    ("driver version is insufficient", "driver on your system is too old"): (
        f"Update the NVIDIA driver, install a PyTorch for the CUDA version of this driver, {_CPU}"
    ),
    (
        "no cuda-capable device", "no nvidia driver", "invalid device ordinal", "devices unavailable",
        "busy or unavailable", "not compiled with cuda", "no cuda gpus",
    ): f"Check the GPU with nvidia-smi and CUDA_VISIBLE_DEVICES, {_CPU}",
    ("no kernel image",): f"Install a PyTorch that supports this GPU, {_CPU}",
    ("device-side assert",): (
        "Set trainer.params.device: cpu and run again: the message then names the operation and the values"
    ),
}  # fmt: skip
_OTHER = "Check the GPU with nvidia-smi and run again: the training resumes from its last checkpoint"


@dataclass(frozen=True)
class Position:
    """Where a training stands.

    Args:
        step: steps made; None before the network is complete.
        rows: rows in memory at once; None where none are.
    """

    step: int | None = None
    rows: int | None = None

    @property
    def where(self) -> str:
        """The step for a message, or nothing."""
        return "" if self.step is None else f" at step {self.step}"


def explained(error: Exception, at: Position) -> Exception | None:
    """Return what to raise in place of an error of PyTorch; None if it is about neither memory nor a GPU.

    MemoryError if fewer rows at once may help (an `OutOfMemoryError` with step and remedy if it is the GPU's memory),
    StageError if the GPU fails in another way.
    """
    text = " ".join(str(error).split())
    is_gpu = is_of_gpu(text)
    if is_out_of_memory(text):
        return of_gpu_memory(text, at) if is_gpu else MemoryError(first_line(error))
    if not is_gpu:
        return None
    low = text.lower()
    remedy = next((remedy for signs, remedy in _REMEDIES.items() if any(sign in low for sign in signs)), _OTHER)
    return StageError(f"the GPU failed{at.where}: {first_line(error).rstrip('.')}", remedy)


def is_out_of_memory(text: str) -> bool:
    """Return whether the text of an error means that memory ran out, of the host or of a GPU."""
    return any(sign in text.lower() for sign in _OUT_OF_MEMORY)


def is_of_gpu(text: str) -> bool:
    """Return whether the text of an error is about a GPU."""
    return bool(_GPU.search(text)) and not any(sign in text.lower() for sign in _HOST)


def of_gpu_memory(text: str, at: Position) -> memory_pressure.OutOfMemoryError:
    """Return the error for a GPU without enough memory: step, rows, bytes asked for and GPU, as far as known."""
    asked, gpu = _ASKED.search(text), _NUMBER.search(text)
    parts = [
        f"batch {at.rows}" if at.rows is not None else "",
        f"asked {_size(asked[1], asked[2])}" if asked else "",
        f"GPU {gpu[1]}" if gpu else "",
    ]
    known = ", ".join(filter(None, parts))
    problem = f"CUDA out of memory{at.where}{f' ({known})' if known else ''}"
    return memory_pressure.OutOfMemoryError(problem, _REMEDY)


def first_line(error: Exception) -> str:
    """Return the first line of an error's text: those after it are advice for developers."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _size(number: str, unit: str) -> str:
    return f"{number} {unit}" if unit == "bytes" else f"{float(number):.1f} {unit}"
