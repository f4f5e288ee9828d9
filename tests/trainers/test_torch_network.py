"""What the network promises: chance that is new in each step, and memory that runs out between two steps."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ai_workflow.errors import StageError
from tests import processes
from tests.trainers.mlps import begun

torch = pytest.importorskip("torch", reason="PyTorch is missing. Install it: pip install 'ai-workflow[torch]'")

SHORT_OF_MEMORY = """
    import resource
    import numpy as np
    from ai_workflow import settings, trainers
    from tests.trainers.rows import Held, spec
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


def test_the_seed_of_a_step_decides_what_is_dropped_out_and_every_step_has_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = begun("binary", dropout=0.5)
    network, seeds = made._network, []  # type: ignore[attr-defined]
    x, y = np.ones((20, 9), "float32"), np.zeros(20)
    losses = [network.learn(x, y, 1e-12, seed) for seed in (1, 1, 2)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)
    assert abs(losses[0] - losses[2]) > 1e-6
    learn = network.learn
    monkeypatch.setattr(network, "learn", lambda x, y, rate, seed: (seeds.append(seed), learn(x, y, rate, seed))[1])
    for _ in range(5):
        made.step()
    assert len(set(seeds)) == 5


def test_a_gpu_that_is_not_there_is_said() -> None:
    if torch.cuda.is_available():
        return
    with pytest.raises(StageError, match=re.escape("trainer.params.device is cuda, but PyTorch finds no GPU")):
        begun("binary", device="cuda")


@pytest.mark.slow
def test_a_batch_that_does_not_fit_into_memory_is_a_memory_error_and_the_step_can_be_made_with_a_smaller_one() -> None:
    assert processes.python(SHORT_OF_MEMORY).splitlines() == ["RuntimeError", "3 True"]
