"""Network and optimizer of `torch_mlp`; the only module that imports PyTorch.

Each operation is a function of its arguments and the state of the network: the randomness of a step comes from the seed
of the step, and does not change the random state of the process.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ai_workflow.errors import DeviceError
from ai_workflow.runtime import memory_pressure
from ai_workflow.training.families import torch_errors
from ai_workflow.training.families.torch_errors import ErrorContext

_RESUMES = "the same command resumes from the last checkpoint"


class Loss(NamedTuple):
    """Loss of a regression; the parameter is that of `huber` (delta) or `quantile`."""

    kind: str
    parameter: float | None = None

    def of_rows(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row."""
        if self.parameter is None:
            function = functional.mse_loss if self.kind == "squared" else functional.l1_loss
            return function(output, target, reduction="none")
        if self.kind == "huber":
            return functional.huber_loss(output, target, reduction="none", delta=self.parameter)
        # Koenker and Bassett, Regression Quantiles, Econometrica 46 (1978).
        error = target - output
        return torch.maximum(self.parameter * error, (self.parameter - 1) * error)


class Network:
    """Layers with ReLU and dropout between them, trained by AdamW.

    Args:
        sizes: inputs, hidden layers, outputs.
        loss: the loss of a regression, with one output; None: an output for each class and the cross entropy.
    """

    def __init__(
        self, sizes: list[int], *, loss: Loss | None, dropout: float, decay: float, device: str, threads: int, seed: int
    ) -> None:
        if device == "cuda":
            # Without this setting cuBLAS may sum in another order each time.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            _check_gpu()
        self._loss, self._device, self._threads = loss, torch.device(device), threads
        # Steps made, for messages; None before the network is complete.
        self.steps: int | None = None
        with self._deterministic(seed):
            layers: list[Any] = []
            for inputs, outputs in pairwise(sizes):
                layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
            self._layers = nn.Sequential(*layers[:-2]).to(self._device)
            self._optimizer = torch.optim.AdamW(self._layers.parameters(), weight_decay=decay)
        self.steps = 0

    def train_batch(
        self, x: np.ndarray, y: np.ndarray, rate: float, seed: int, weights: np.ndarray | None = None
    ) -> float:
        """Train on one batch, and return its mean loss; each loss is multiplied by its weight.

        Raises:
            MemoryError: the batch does not fit into memory; the weights are unchanged.
            StageError: there is no memory for the update of the weights, which may be incomplete.
            DeviceError: the GPU fails.
        """
        with self._deterministic(seed, len(x)):
            self._layers.train()
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            self._optimizer.zero_grad()
            loss = self._losses(x, y, weights).mean()
            loss.backward()
            self._update(len(x))
            value = float(loss.item())
            self.steps = (self.steps or 0) + 1
            return value

    def _update(self, rows: int) -> None:
        try:
            self._optimizer.step()
        except RuntimeError as error:
            text = str(error)
            context = ErrorContext(self.steps, rows)
            if not torch_errors.is_out_of_memory(text):
                raise
            if torch_errors.is_gpu_error(text):
                gpu_error = torch_errors.gpu_memory_error(text, context)
                remedy = f"{gpu_error.remedy}; {_RESUMES}"
                raise memory_pressure.MemoryExhaustedError(gpu_error.problem, remedy) from error
            raise memory_pressure.MemoryExhaustedError(
                f"memory ran out in the update of the weights{context.at_step} ({torch_errors.first_line(error)})",
                f"Give the process more memory, or lower trainer.params.hidden; {_RESUMES}",
            ) from error

    def loss(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> float:
        """Return the sum of the losses of rows, without dropout; each loss is multiplied by its weight.

        Raises:
            MemoryError: the rows do not fit.
        """
        with self._deterministic(0, len(x)), torch.no_grad():
            self._layers.eval()
            return float(self._losses(x, y, weights).double().sum().item())

    def weights(self) -> dict[str, Any]:
        """Return a copy of the weights."""
        with self._translated_errors():
            return {name: tensor.detach().cpu().clone() for name, tensor in self._layers.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """Return weights and optimizer."""
        with self._translated_errors():
            return {"weights": self.weights(), "optimiser": _on_cpu(self._optimizer.state_dict())}

    def restore(self, state: dict[str, Any], steps: int) -> None:
        """Restore a state that was returned after `steps` steps."""
        self.steps = steps
        with self._translated_errors():
            self._layers.load_state_dict(state["weights"])
            self._optimizer.load_state_dict(state["optimiser"])

    def _losses(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> Any:
        losses = self._row_losses(x, y)
        if weights is None:
            return losses
        return losses * torch.tensor(weights, dtype=torch.float32, device=self._device)

    def _row_losses(self, x: np.ndarray, y: np.ndarray) -> Any:
        # A copy is aligned by PyTorch: how a sum is split can depend on the alignment.
        out = self._layers(torch.tensor(x, device=self._device))
        if self._loss:
            return self._loss.of_rows(out[:, 0], torch.tensor(y, dtype=torch.float32, device=self._device))
        classes = torch.tensor(y.astype(np.int64), device=self._device)
        return functional.cross_entropy(out, classes, reduction="none")

    @contextlib.contextmanager
    def _deterministic(self, seed: int, rows: int | None = None) -> Iterator[None]:
        """Make the block repeatable, and restore PyTorch's settings and random state after it.

        Args:
            seed: seed of the random numbers in the block.
            rows: number of rows in memory, for messages.
        """
        threads = torch.get_num_threads()
        was_deterministic = torch.are_deterministic_algorithms_enabled()
        with self._translated_errors(rows):
            devices = [torch.cuda.current_device()] if self._device.type == "cuda" else []
            with torch.random.fork_rng(devices):
                try:
                    torch.set_num_threads(self._threads)
                    torch.use_deterministic_algorithms(True)
                    torch.manual_seed(seed)
                    yield
                finally:
                    torch.set_num_threads(threads)
                    torch.use_deterministic_algorithms(was_deterministic)

    @contextlib.contextmanager
    def _translated_errors(self, rows: int | None = None) -> Iterator[None]:
        """Raise errors of memory and of the GPU with the step and a remedy."""
        try:
            yield
        except (RuntimeError, torch.cuda.DeferredCudaCallError) as error:
            translated = torch_errors.translate(error, ErrorContext(self.steps, rows))
            if translated is None:
                raise
            if self._device.type == "cuda":
                # After a device-side assert every operation on the device fails, including this one.
                with contextlib.suppress(RuntimeError):
                    torch.cuda.empty_cache()
            raise translated from error


def _check_gpu() -> None:
    """Raise DeviceError with PyTorch's reason if it cannot use a GPU."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return
    problem = "trainer.params.device is cuda, but PyTorch finds no GPU"
    if torch.version.cuda is None and torch.version.hip is None:
        raise DeviceError(f"{problem}: it is built for CPUs only", "Install PyTorch for CUDA, or set the device to cpu")
    reason = " ".join(str(caught[-1].message).split()) if caught else ""
    error = torch_errors.translate(RuntimeError(f"CUDA: {reason}"), ErrorContext()) if reason else None
    remedy = error.remedy if isinstance(error, DeviceError) else "Set it to cpu"
    raise DeviceError(f"{problem}{f': {reason}' if reason else ''}", remedy)


def arrays(weights: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return weights as `layer0.weight` (outputs, inputs), `layer0.bias` and so on, in float32."""
    named = {}
    for number, (weight, bias) in enumerate(zip(*[iter(weights.values())] * 2, strict=True)):
        named[f"layer{number}.weight"] = weight.numpy()
        named[f"layer{number}.bias"] = bias.numpy()
    return named


def dumps(state: dict[str, Any]) -> bytes:
    """Serialize tensors and plain values; `torch.save` to a file would include the file's name."""
    out = io.BytesIO()
    torch.save(state, out)
    return out.getvalue()


def loads(data: bytes) -> dict[str, Any]:
    """Deserialize the result of `dumps` without running code from it."""
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state


def _on_cpu(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _on_cpu(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_on_cpu(item) for item in value]
    return value.cpu() if isinstance(value, torch.Tensor) else value
