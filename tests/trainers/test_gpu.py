"""Trainings on a GPU: they end the same after a kill, and memory that runs out there is said. `make test-gpu`."""

from __future__ import annotations

import pytest

from ai_workflow.storage.store import Store
from tests import processes
from tests.trainers import killed_trainings
from tests.trainers.small_mlps import STEPS, begun, end
from tests.trainers.test_torch_stage import pipeline, prepared, whole

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]
PARAMS = {"hidden": [16], "learning_rate": 0.02, "dropout": 0.3, "device": "cuda"}
LIMITED = """
    import logging, sys
    import numpy as np
    import torch
    from ai_workflow.config import settings
    from ai_workflow.runtime import memory_pressure
    from ai_workflow.training import protocol
    from ai_workflow.training.checkpoints import Checkpoints
    from ai_workflow.storage.store import Store
    from ai_workflow.training.loop import Training
    from tests.trainers.training_rows import Held, spec
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    torch.cuda.set_per_process_memory_fraction(400e6 / torch.cuda.get_device_properties(0).total_memory)
    x = np.random.default_rng(0).normal(size=(60_000, 4)).astype("float32")
    data = protocol.TrainingData(spec("binary"), [Held(x, (x[:, 0] > 0).astype(float))], [])
    def train(hidden):
        options = settings.Trainer(kind="torch_mlp", steps=2, params={"hidden": hidden, "device": "cuda"})
        made = protocol.trainer("torch_mlp")
        made.start(data, options, 60_000)
        checkpoints = Checkpoints(Store(sys.argv[1]), "p", f"{hidden[0]}", 3)
        return Training(made, options, checkpoints, options.checkpoint).run().batch_size
    print("rows", train([4096]))
    for hidden in ([30_000, 30_000], [4_500, 4_500]):
        try:
            memory_pressure.wrap_memory_error(lambda: train(hidden))
        except Exception as error:
            print(type(error).__name__, error)
"""


@pytest.fixture(autouse=True)
def _gpu() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is missing. Install it: .venv/bin/pip install -e '.[torch]'")
    if not torch.cuda.is_available():
        pytest.skip("no GPU: PyTorch finds none here")


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_gpu_training_is_deterministic_and_reduces_loss(kind: str) -> None:
    losses: list[tuple[int, float]] = []
    first = end(begun(kind, device="cuda"), STEPS, losses)
    assert end(begun(kind, device="cuda"), STEPS) == first
    assert losses[-1][1] < losses[0][1]


def test_resumed_gpu_training_gives_identical_model(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    run = pipeline(store, params=PARAMS, steps=60)
    expected = whole(run, Store(tmp_path_factory.mktemp("whole")))
    found = killed_trainings.until_done(run, prepared(run), "torch_mlp", 1)
    assert found["model"]["sha256"] == expected["model"]["sha256"]


def test_gpu_out_of_memory_reduces_batch_or_raises_single_error(
    store: Store,
) -> None:
    lines = processes.python(LIMITED, store.root).splitlines()
    assert "Data batch size reduced from 60000 to 30000 due to memory pressure" in lines
    [rows] = [int(line.partition(" ")[2]) for line in lines if line.startswith("rows ")]
    assert 8 <= rows < 60_000
    failed = [line for line in lines if line.startswith("MemoryExhaustedError CUDA out of memory")]
    assert len(failed) == 2
    assert all("asked " in line and "GPU 0" in line and "nvidia-smi" in line for line in failed)
