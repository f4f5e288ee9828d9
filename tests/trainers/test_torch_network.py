"""What the network promises: chance that is new in each step, and memory that runs out between two steps."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_workflow.config import settings
from ai_workflow.errors import StageError
from ai_workflow.runtime import memory_pressure
from ai_workflow.storage.store import Store
from ai_workflow.training.checkpoints import Checkpoints
from ai_workflow.training.loop import Training
from tests import processes
from tests.trainers.small_mlps import begun, options

pytestmark = pytest.mark.integration

torch = pytest.importorskip("torch", reason="PyTorch is missing. Install it: .venv/bin/pip install -e '.[torch]'")
torch_network = pytest.importorskip("ai_workflow.training.families.torch_network")

SHORT_OF_MEMORY = """
    import resource
    import numpy as np
    from ai_workflow.config import settings; from ai_workflow.training import protocol as trainers
    from tests.trainers.training_rows import Held, spec
    draw = np.random.default_rng(0)
    x = draw.normal(size=(300_000, 4)).astype("float32")
    made = trainers.trainer("torch_mlp")
    options = settings.Trainer(kind="torch_mlp", params={"hidden": [512]})
    rows = [Held(x, (x[:, 0] > 0).astype(float))]
    made.start(trainers.TrainingData(spec("binary"), rows, []), options, 300_000)
    state = made.save()
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20), resource.RLIM_INFINITY))
    try:
        made.step()
    except MemoryError as error:
        print(type(error.__cause__).__name__)
    made.batch_size = 1000
    while made.step() and made._step < 3:
        pass
    print(made._step, made.loss() > 0)
"""


def test_dropout_mask_depends_on_distinct_seed_per_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = begun("binary", dropout=0.5)
    network, seeds = made._network, []  # type: ignore[attr-defined]
    x, y = np.ones((20, 9), "float32"), np.zeros(20)
    losses = [network.train_batch(x, y, 1e-12, seed) for seed in (1, 1, 2)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)
    assert abs(losses[0] - losses[2]) > 1e-6
    train_batch = network.train_batch
    monkeypatch.setattr(
        network,
        "train_batch",
        lambda x, y, rate, seed, weights: (seeds.append(seed), train_batch(x, y, rate, seed, weights))[1],
    )
    for _ in range(5):
        made.step()
    assert len(set(seeds)) == 5


def test_missing_gpu_raises_stage_error() -> None:
    if torch.cuda.is_available():
        return
    with pytest.raises(StageError, match=re.escape("trainer.params.device is cuda, but PyTorch finds no GPU")):
        begun("binary", device="cuda")


OOM = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15.77 GiB of which 1.2 GiB is free."
)


def _resumable(folder: Path) -> Training:
    made = begun("binary")
    often = settings.Checkpoint(every_steps=3, keep=5)
    return Training(made, options(early_stopping=0), Checkpoints(Store(folder), "p", "0123", often.keep), often)


@pytest.mark.parametrize("where", ["forward", "update"])
def test_gpu_out_of_memory_fails_with_remedy_and_next_run_resumes(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No GPU is needed: the error is raised where PyTorch raises it."""
    expected = _resumable(tmp_path / "whole").run()
    calls = 0
    owner, name = (torch_network.Network, "_losses") if where == "forward" else (torch.optim.AdamW, "step")
    real = getattr(owner, name)

    def late(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        # The losses of the validation rows come by the same way as those of a step.
        calls += where == "update" or arguments[0]._layers.training
        if calls > 7:
            raise torch.OutOfMemoryError(OOM)
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, late)
    rows = 8 if where == "forward" else 50
    with pytest.raises(
        StageError, match=rf"^CUDA out of memory at step 7 \(batch {rows}, requested 2.0 GiB, GPU 0\)\. Lower "
    ):
        _resumable(tmp_path / "own").run()
    assert ("Data batch size reduced from 50 to 25 due to memory pressure" in caplog.messages) == (where == "forward")
    monkeypatch.undo()
    resumed = _resumable(tmp_path / "own")
    state = resumed.run()
    assert resumed.resumed_from == (7 if where == "forward" else 6)
    assert state.step == expected.step
    assert where == "forward" or state.losses == expected.losses


def test_network_too_large_for_gpu_fails_at_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError(OOM)

    monkeypatch.setattr(torch.nn.Module, "to", full)
    text = r"^CUDA out of memory \(requested 2.0 GiB, GPU 0\)\. Lower trainer.params.hidden"
    with pytest.raises(StageError, match=text):
        memory_pressure.wrap_memory_error(lambda: begun("binary"))


def test_gpu_failure_error_names_step(monkeypatch: pytest.MonkeyPatch) -> None:
    made = begun("binary")
    made.step()
    monkeypatch.setattr(torch.Tensor, "backward", _assert_on_device)
    with pytest.raises(StageError, match=r"^the GPU failed at step 1: CUDA error: device-side assert triggered\. Set "):
        made.step()


def _assert_on_device(*_: object) -> None:
    raise RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported")


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (
            "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040).",
            "Update the NVIDIA",
        ),
        ("", "Set it to cpu"),
    ],
)
def test_missing_gpu_error_shows_reason_and_remedy(said: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> bool:
        if said:
            warnings.warn(said, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", none)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    with pytest.raises(StageError, match=re.escape(f"PyTorch finds no GPU{f': {said}' if said else ''}")) as found:
        begun("binary", device="cuda")
    assert remedy in str(found.value)


@pytest.mark.slow
def test_oversized_batch_raises_error_and_smaller_batch_succeeds() -> None:
    assert processes.python(SHORT_OF_MEMORY).splitlines() == ["RuntimeError", "3 True"]
