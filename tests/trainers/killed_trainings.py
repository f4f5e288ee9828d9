"""Trainings through the stage in processes of their own, killed at random steps and started again."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ai_workflow.config import settings
from ai_workflow.runtime import progress
from ai_workflow.stages import trainer
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import logs
from tests.stages.tables import Pipeline, Result
from tests.trainers.training_rows import ROOT

BATCH = 32


def until_done(run: Pipeline, featured: Result, kind: str, kills: int, seed: int = 0) -> Result:
    """Train in child processes, killing each at a random step, and return what the last one gave.

    Each kill is checked to cost no more than one checkpoint interval.
    """
    draw, often = random.Random(seed), run.settings.trainer.checkpoint.every_steps
    given = {"store": run.store.root, "featured": featured, "kind": kind,
             "options": run.settings.trainer.model_dump(mode="json", exclude={"kind"})}  # fmt: skip
    killed_at, told = 0, run.settings.trainer.steps // (kills + 1)
    for _ in range(kills):
        step, first, _ = _train(given, killed_at + draw.randint(1, told))
        assert first - 1 >= killed_at - often, f"killed at step {killed_at}, went on at step {first}"
        assert killed_at < often or first > 1, "it began from scratch"
        killed_at = step
    _, first, out = _train(given, 0)
    assert first > 1
    found: Result = json.loads(out.splitlines()[-1])
    return found


def _train(given: dict[str, Any], kill_at: int) -> tuple[int, int, str]:
    """Run until a step is reported, or to the end; return the last and the first step reported, and the output."""
    command = [sys.executable, "-m", "tests.trainers.killed_trainings", json.dumps(given)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    steps, lines = [], []
    assert child.stdout is not None
    for line in child.stdout:
        lines.append(line)
        if found := re.match(r"step (\d+)$", line):
            steps.append(int(found[1]))
            if kill_at and steps[-1] >= kill_at:
                os.kill(child.pid, signal.SIGKILL)
    code = child.wait()
    out = "".join(lines)
    assert code == (-signal.SIGKILL if kill_at else 0), out
    return steps[-1], steps[0], out


def options(kind: str, **given: Any) -> settings.Trainer:
    """Return trainer settings of a kind."""
    return settings.Trainer(kind=kind, **given)


def main(given: dict[str, Any]) -> None:
    """Train, and print each step that is made, then the result."""
    logs.setup("INFO", "text")
    progress.set_receiver(lambda done, *_: print(f"step {done}", flush=True))
    chosen = options(given["kind"], **given["options"])
    print(json.dumps(trainer.train(Store(Path(given["store"])), given["featured"], chosen, BATCH)))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
