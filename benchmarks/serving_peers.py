"""The servers that are measured, as a table: how each is installed, started and asked, and what it must answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import peer_environment
from benchmarks.http_load import Request
from benchmarks.serving_model import COLUMNS, NAME, Made

HELLO, OURS = "hello", "ai-workflow"
SCRIPTS = Path(__file__).resolve().parent / "peers"
_CLI = "from ai_workflow.cli.main import main; main()"
_UVICORN = ("uvicorn==0.54.0", "httptools==0.9.0")
_MODEL = ("lightgbm==4.7.0", "numpy==2.4.6")
# Under uvloop 0.22 and later its worker process dies, and no model is ever loaded (SeldonIO/MLServer#2286).
_MLSERVER = ("mlserver==1.7.1", "mlserver-lightgbm==1.7.1", *_UVICORN, "uvloop==0.21.0", *_MODEL)

Row = Mapping[str, float]
Wanted = list[tuple[Sequence[str | int], Any]]


@dataclass(frozen=True, slots=True)
class Question:
    """One way to ask about a row: where, how, and what the answer must hold, given the probability of class 1."""

    path: str
    body: Callable[[Row], Any]
    wanted: Callable[[float], Wanted]

    def requests(self, made: Made) -> list[Request]:
        """Return a request for each row."""
        rows = [dict(zip(made.columns, row, strict=True)) for row in made.rows]
        pairs = zip(rows, made.probabilities, strict=True)
        return [Request(self.path, json.dumps(self.body(row)), self.wanted(value)) for row, value in pairs]


@dataclass(frozen=True, slots=True)
class Server:
    """One server; without requirements it runs in the environment of the project.

    Args:
        name: what `--only` calls it.
        script: the file in `peers/`, and what it is given beside model, port and folder; empty for the service itself.
        ready: the path that answers 200 once the model is loaded.
        questions: how the row is asked for, by the name in the report.
        environment: the folder of its environment, which servers may share.
        requirements: what is installed there.
        peer: a model server, which the project compares itself with.
    """

    name: str
    script: tuple[str, ...]
    ready: str
    questions: Mapping[str, Question]
    environment: str = ""
    requirements: tuple[str, ...] = field(default=())
    peer: bool = False

    def command(self, made: Made, port: int, folder: Path) -> list[str]:
        """Return what starts it, once it is installed.

        Raises:
            Skipped: it cannot be installed.
        """
        if not self.script:
            where = ["--pipeline", str(made.pipeline), "--store", str(made.store), "--port", str(port)]
            return [sys.executable, "-c", _CLI, "serve", *where]
        python = (
            str(peer_environment.python(self.environment, self.requirements)) if self.environment else sys.executable
        )
        script, *more = self.script
        return [python, str(SCRIPTS / script), str(made.model), str(port), str(folder), *more]


def _listed(row: Row) -> Any:
    return {"rows": [list(row.values())]}


def _named(row: Row) -> Any:
    return {"rows": [dict(row)]}


def _tensor(row: Row) -> Any:
    """The Open Inference Protocol."""
    tensor = {"name": "features", "shape": [1, len(COLUMNS)], "datatype": "FP64", "data": list(row.values())}
    return {"inputs": [tensor]}


def _decided(value: float) -> Wanted:
    """Our answer is the class and its probability; a fallback would be no measurement of the model."""
    row: Sequence[str | int] = ("predictions", 0)
    told = [((*row, "prediction"), str(int(value > 0.5))), ((*row, "score"), max(value, 1 - value))]
    return [*told, (("fallback",), False)]


def _probable(value: float) -> Wanted:
    """Our answer in the Open Inference Protocol: the class, its probability, those of all classes."""
    told: Wanted = [(("outputs", 0, "data", 0), str(int(value > 0.5))), (("outputs", 2, "data", 1), value)]
    return [*told, (("parameters", "fallback"), False)]


def _at(*path: str | int) -> Callable[[float], Wanted]:
    return lambda value: [(path, value)]


_OIP = Question("/v2/models/trees/infer", _tensor, _at("outputs", 0, "data", 0))
_SCORES = Question("/predict", _listed, _at("scores", 0))

SERVERS = (
    Server(HELLO, ("serve_hello.py",), "/", {HELLO: Question("/", _named, lambda _: [(("hello",), "world")])}),
    Server(
        OURS, (), "/v2/health/ready",
        {
            "ai-workflow /predict": Question("/predict", _named, _decided),
            "ai-workflow /v2 infer": Question(f"/v2/models/{NAME}/infer", _tensor, _probable),
        },
    ),
    Server("fastapi", ("serve_fastapi.py",), "/ready", {"FastAPI def": _SCORES}),
    Server(
        "mlserver", ("serve_mlserver.py", "0"), "/v2/models/trees/ready", {"MLServer in-process": _OIP},
        "mlserver", _MLSERVER, peer=True,
    ),
    Server(
        "mlserver-default", ("serve_mlserver.py",), "/v2/models/trees/ready", {"MLServer default": _OIP},
        "mlserver", _MLSERVER, peer=True,
    ),
    Server(
        "bentoml", ("serve_bentoml.py",), "/readyz", {"BentoML async": Question("/predict", _listed, _at(0))},
        "bentoml", ("bentoml==1.4.40", *_UVICORN, "uvloop==0.23.0", *_MODEL), peer=True,
    ),
    Server(
        "litserve", ("serve_litserve.py",), "/health", {"LitServe": _SCORES},
        "litserve", ("litserve==0.2.19", *_UVICORN, "uvloop==0.23.0", *_MODEL), peer=True,
    ),
    Server(
        "mlflow", ("serve_mlflow.py",), "/ping",
        {"mlflow serve": Question("/invocations", lambda row: {"inputs": _listed(row)["rows"]}, _at("predictions", 0))},
        "mlflow", ("mlflow==3.17.2", *_UVICORN, "uvloop==0.23.0", *_MODEL), peer=True,
    ),
)  # fmt: skip
