"""Errors of PyTorch with a remedy: out of memory on the host or a GPU, and GPU failures.

They are recognized by their text, because PyTorch raises RuntimeError for most of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ai_workflow.errors import DeviceError
from ai_workflow.runtime import memory_pressure

_OUT_OF_MEMORY = (
    "can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory", "bad_alloc",
    "bad allocation", "status_alloc_failed", "memory_allocation",
)  # fmt: skip
_GPU = re.compile(r"cuda|cublas|cudnn|cusparse|cusolver|cufft|nccl|nvml|nvidia|\bhip\b|rocblas|miopen", re.IGNORECASE)
# A C++ path or name may have these words; messages of the CPU allocator are not about a GPU.
_HOST = ("defaultcpuallocator", "alloc_cpu")
_REQUESTED = re.compile(r"[Tt]ried to allocate (\d+(?:\.\d+)?) (bytes|[KMGTP]iB)")
_GPU_NUMBER = re.compile(r"\bGPU (\d+)")
_FREE_GPU = "use a GPU with free memory (nvidia-smi), or set trainer.params.device: cpu"
# The batch size is lowered automatically, so the remaining remedy is the size of the network.
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
class ErrorContext:
    """State of the training for an error message.

    Args:
        step: number of steps made; None before the network is complete.
        rows: number of rows in memory; None if there are none.
    """

    step: int | None = None
    rows: int | None = None

    @property
    def at_step(self) -> str:
        """The step for a message, or an empty text."""
        return "" if self.step is None else f" at step {self.step}"


def translate(error: Exception, context: ErrorContext) -> Exception | None:
    """Return the error to raise instead of an error of PyTorch; None if it is about neither memory nor a GPU.

    The result is a MemoryError if a smaller batch may help (an `OutOfMemoryError` with step and remedy for GPU memory),
    and a DeviceError if the GPU fails in another way.
    """
    text = " ".join(str(error).split())
    is_gpu = is_gpu_error(text)
    if is_out_of_memory(text):
        return gpu_memory_error(text, context) if is_gpu else MemoryError(first_line(error))
    if not is_gpu:
        return None
    low = text.lower()
    remedy = next((remedy for parts, remedy in _REMEDIES.items() if any(part in low for part in parts)), _OTHER)
    return DeviceError(f"the GPU failed{context.at_step}: {first_line(error).rstrip('.')}", remedy)


def is_out_of_memory(text: str) -> bool:
    """Return whether the text of an error means that memory ran out, of the host or of a GPU."""
    return any(part in text.lower() for part in _OUT_OF_MEMORY)


def is_gpu_error(text: str) -> bool:
    """Return whether the text of an error is about a GPU."""
    return bool(_GPU.search(text)) and not any(part in text.lower() for part in _HOST)


def gpu_memory_error(text: str, context: ErrorContext) -> memory_pressure.OutOfMemoryError:
    """Return the error for exhausted GPU memory, with step, rows, requested bytes and GPU if the text has them."""
    requested = _REQUESTED.search(text)
    gpu = _GPU_NUMBER.search(text)
    parts = [
        f"batch {context.rows}" if context.rows is not None else "",
        f"requested {_size(requested[1], requested[2])}" if requested else "",
        f"GPU {gpu[1]}" if gpu else "",
    ]
    details = ", ".join(filter(None, parts))
    problem = f"CUDA out of memory{context.at_step}{f' ({details})' if details else ''}"
    return memory_pressure.OutOfMemoryError(problem, _REMEDY)


def first_line(error: Exception) -> str:
    """Return the first line of an error's text; further lines are advice for developers."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _size(number: str, unit: str) -> str:
    return f"{number} {unit}" if unit == "bytes" else f"{float(number):.1f} {unit}"
