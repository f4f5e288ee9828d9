"""What a kill costs: a training killed on its way and resumed, over one never interrupted; and what saving it costs."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks import customers
from benchmarks.measure import BenchmarkError, machine, spread

ROOT = Path(__file__).resolve().parent.parent
ROWS, STEPS, ROUNDS, PAIRS = 200_000, 300, 3, 6
FRACTIONS = (0.25, 0.5, 0.9)
# The goal of the project: saving takes at most this share of a training, at the interval that is set by default.
SAVING_TAKES = 0.03
NEVER = {"every_steps": 1_000_000_000, "every_seconds": 1e9, "keep": 1}
_SAVED = re.compile(r"checkpoints took [\d.]+ s, ([\d.]+) % of the training")
_RESUMED = re.compile(r"Restarting from step (\d+)")


@dataclass(frozen=True, slots=True)
class Run:
    """One process: how long it took, how long it trained, and what its log says of checkpoints."""

    seconds: float
    training: float
    saving: float
    resumed: int


@dataclass(frozen=True, slots=True)
class Round:
    """What one round found: each killed and resumed pair over the whole run, and what the trainer says saving took."""

    whole: float
    killed: dict[str, float]
    resumed_from: dict[str, int]
    saving: float


class Bench:
    """A folder with a source, and a store that is emptied before each training."""

    def __init__(self, folder: Path, rows: int, steps: int) -> None:
        self._folder, self._store = folder, folder / "store"
        table = folder / "customers.csv"
        customers.write(table, rows)
        text = customers.PIPELINE.format(path=table).replace("steps: 30", f"steps: {steps}")
        (folder / "saving.yaml").write_text(text)
        (folder / "never.yaml").write_text(text.replace("params:", f"checkpoint: {json.dumps(NEVER)}, params:"))

    def round(self) -> Round:
        """Run everything once.

        Raises:
            BenchmarkError: a resumed run did not make the very same model.
        """
        whole = self._fresh("saving.yaml")
        model = self._model()
        ratios, steps = {}, {}
        for fraction in FRACTIONS:
            first = self._fresh("saving.yaml", fraction * whole.training)
            second = self._run("saving.yaml")
            if self._model() != model:
                raise BenchmarkError(f"killed at {fraction:.0%} and resumed, it made another model")
            ratios[str(fraction)] = (first.seconds + second.seconds) / whole.seconds
            steps[str(fraction)] = second.resumed
        return Round(whole.seconds, ratios, steps, whole.saving)

    def pair(self, number: int) -> float:
        """Train with checkpoints and without, every second time the other way round, and return the ratio."""
        order = ("saving.yaml", "never.yaml")
        found = {pipeline: self._fresh(pipeline).training for pipeline in (order if number % 2 else order[::-1])}
        return found["saving.yaml"] / found["never.yaml"]

    def _fresh(self, pipeline: str, kill_after: float | None = None) -> Run:
        shutil.rmtree(self._store, ignore_errors=True)
        return self._run(pipeline, kill_after)

    def _run(self, pipeline: str, kill_after: float | None = None) -> Run:
        """Train in a process of its own; kill it some seconds after the training proper began."""
        log, start, began = self._folder / "output.log", time.perf_counter(), 0.0
        with log.open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.bare_training", str(self._folder / pipeline)],
                cwd=ROOT, env={**os.environ, "AIW_STORE": str(self._store)},
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        ended = 0.0
        while child.poll() is None:
            now = time.perf_counter()
            # The lock is taken as the training begins, the model written as it ends.
            began = began or (now if list(self._store.glob("checkpoints/*/*/.lock")) else 0.0)
            ended = ended or (now if list(self._store.glob("data/trained/*/model.txt")) else 0.0)
            if kill_after is not None and began and now - began >= kill_after:
                child.kill()
            time.sleep(0.002)
        seconds, said = time.perf_counter() - start, log.read_text(errors="replace")
        if child.returncode != (0 if kill_after is None else -9):
            raise BenchmarkError(f"the training ended with code {child.returncode}:\n{said[-2_000:]}")
        saved, resumed = _SAVED.search(said), _RESUMED.search(said)
        return Run(seconds, ended - began, float(saved[1]) / 100 if saved else 0.0, int(resumed[1]) if resumed else 0)

    def _model(self) -> bytes:
        return next(self._store.glob("data/trained/*/model.txt")).read_bytes()


def main(given: list[str]) -> None:
    """Measure, print the table and the goal, and write them as JSON on request.

    Raises:
        BenchmarkError: something did not run as it should, so there is nothing to report.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks resume", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"after one pair that warms up ({ROUNDS})")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"trainings with and without checkpoints ({PAIRS})")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"rows of the table ({ROWS})")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"steps of the training ({STEPS})")
    parser.add_argument("--json", type=Path, help="write every figure there too")
    options = parser.parse_args(given)
    about = f"{options.rows} x 12 made-up rows, {options.steps} steps, {options.rounds} rounds, {machine()}"
    with tempfile.TemporaryDirectory(prefix="aiw-benchmark-") as name:
        bench = Bench(Path(name), options.rows, options.steps)
        bench.pair(0)  # warms up
        rounds = [bench.round() for _ in range(options.rounds)]
        pairs = [bench.pair(number) for number in range(options.pairs)]
    print(render(rounds, pairs, about))
    if options.json:
        body = {"about": about, "rounds": [asdict(each) for each in rounds], "with_over_without": pairs}
        options.json.write_text(json.dumps(body, indent=1) + "\n")


def render(rounds: Sequence[Round], pairs: Sequence[float], about: str) -> str:
    """Return the table, and whether the goal is met."""
    lines = [about, "", f"{'min / median / max':<36}{'':>22}{'resumed from step':>20}"]
    lines.append(f"{'never interrupted, seconds':<36}{_spread([each.whole for each in rounds]):>22}")
    for fraction in FRACTIONS:
        found = [each.killed[str(fraction)] for each in rounds]
        steps = ", ".join(str(each.resumed_from[str(fraction)]) for each in rounds)
        lines.append(f"{f'killed at {fraction:.0%} and resumed, ratio':<36}{_spread(found):>22}{steps:>20}")
    lines.append(f"{'with checkpoints over without':<36}{_spread(pairs, '.3f'):>22}")
    lines.append(f"{'saving, as the trainer says, share':<36}{_spread([each.saving for each in rounds], '.4f'):>22}")
    verdict = "met" if median(pairs) <= 1 + SAVING_TAKES else "missed"
    goal = f"with checkpoints a training takes {median(pairs) - 1:+.1%}, at most {SAVING_TAKES:+.0%}"
    return "\n".join([*lines, "", f"{verdict:<7}{goal}"])


def _spread(values: Sequence[float], form: str = ".2f") -> str:
    return " / ".join(f"{value:{form}}" for value in spread(values))
