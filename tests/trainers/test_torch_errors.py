"""Errors of PyTorch as people read them; the texts are those of PyTorch 1.13 to 2.9 and of CUDA."""

from __future__ import annotations

import pytest

from ai_workflow.errors import StageError
from ai_workflow.runtime import memory_pressure
from ai_workflow.training.families import torch_errors
from ai_workflow.training.families.torch_errors import ErrorContext

NEW = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15.77 GiB of which 1.20 GiB is free."
)
OLD = "CUDA out of memory. Tried to allocate 20.00 MiB (GPU 3; 15.78 GiB total capacity; 14.56 GiB already allocated)"
PLAIN = "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call."
BLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"


@pytest.mark.parametrize(
    ("text", "at", "problem"),
    [
        (NEW, ErrorContext(300, 8), "CUDA out of memory at step 300 (batch 8, requested 2.0 GiB, GPU 0)"),
        (OLD, ErrorContext(7, 16), "CUDA out of memory at step 7 (batch 16, requested 20.0 MiB, GPU 3)"),
        (OLD, ErrorContext(), "CUDA out of memory (requested 20.0 MiB, GPU 3)"),
        (PLAIN, ErrorContext(0, 64), "CUDA out of memory at step 0 (batch 64)"),
        (BLAS, ErrorContext(), "CUDA out of memory"),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", ErrorContext(5), "CUDA out of memory at step 5"),
        (
            "CUDA out of memory. Tried to allocate 5 bytes", ErrorContext(5),
            "CUDA out of memory at step 5 (requested 5 bytes)",
        ),
    ],
)  # fmt: skip
def test_gpu_out_of_memory_error_names_step_batch_and_gpu(text: str, at: ErrorContext, problem: str) -> None:
    found = torch_errors.translate(RuntimeError(text), at)
    assert isinstance(found, memory_pressure.OutOfMemoryError)
    assert found.problem == problem
    assert "nvidia-smi" in found.remedy
    assert "trainer.params.device: cpu" in found.remedy
    assert "source.partition_rows" not in str(found)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("CUDA error: device-side assert triggered\nCUDA kernel errors might be ...", "device: cpu and run again"),
        ("The NVIDIA driver on your system is too old (found version 11040).", "Update the NVIDIA driver"),
        ("CUDA error: CUDA driver version is insufficient for CUDA runtime version", "Update the NVIDIA driver"),
        ("CUDA error: no CUDA-capable device is detected", "CUDA_VISIBLE_DEVICES"),
        ("Found no NVIDIA driver on your system.", "CUDA_VISIBLE_DEVICES"),
        ("CUDA error: no kernel image is available for execution on the device", "supports this GPU"),
        ("CUDA error: an illegal memory access was encountered", "resumes from its last checkpoint"),
        ("CUDA error: uncorrectable ECC error encountered", "resumes from its last checkpoint"),
    ],
)
def test_gpu_failure_is_single_error_with_step_and_remedy(text: str, remedy: str) -> None:
    found = torch_errors.translate(RuntimeError(text), ErrorContext(41, 64))
    assert isinstance(found, StageError)
    assert str(found).startswith(f"the GPU failed at step 41: {text.splitlines()[0].rstrip('.')}. ")
    assert remedy in str(found)
    assert "asynchronously" not in str(found)


def test_host_memory_error_differs_from_other_errors() -> None:
    cpu = (
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
    )
    found = torch_errors.translate(RuntimeError(cpu), ErrorContext(3, 8))
    assert type(found) is MemoryError
    assert torch_errors.translate(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ErrorContext()) is None
