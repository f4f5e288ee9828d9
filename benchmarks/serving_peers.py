"""Servers of the serving benchmark: installation, start, requests and expected responses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import peer_environment
from benchmarks.http_load import Request
from benchmarks.serving_model import COLUMNS, NAME, PublishedModel

HELLO, SERVICE = "hello", "ai-workflow"
SCRIPTS = Path(__file__).resolve().parent / "peers"
_CLI = "from ai_workflow.cli.main import main; main()"
_UVICORN = ("uvicorn==0.54.0", "httptools==0.9.0")
_MODEL = ("lightgbm==4.7.0", "numpy==2.4.6")
# With uvloop 0.22 and later its worker process crashes before a model is loaded (SeldonIO/MLServer#2286).
_MLSERVER = ("mlserver==1.7.1", "mlserver-lightgbm==1.7.1", *_UVICORN, "uvloop==0.21.0", *_MODEL)

Row = Mapping[str, float]
ExpectedValues = list[tuple[Sequence[str | int], Any]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint: path, body for a row, and expected values for a probability of class 1."""

    path: str
    body: Callable[[Row], Any]
    expected: Callable[[float], ExpectedValues]

    def requests(self, model: PublishedModel) -> list[Request]:
        """Return a request for each row."""
        rows = [dict(zip(model.columns, row, strict=True)) for row in model.rows]
        pairs = zip(rows, model.probabilities, strict=True)
        return [Request(self.path, json.dumps(self.body(row)), self.expected(value)) for row, value in pairs]


@dataclass(frozen=True, slots=True)
class Server:
    """A server; without requirements it runs in the environment of the project.

    Args:
        name: the name for `--only`.
        script: the file in `peers/`, and its arguments besides model, port and folder; empty for the service itself.
        ready: the path that returns 200 once the model is loaded.
        endpoints: the endpoints to measure, by name in the report.
        environment: the folder of its Python environment, which servers may share.
        requirements: the packages of the environment.
        peer: whether it is another model server.
    """

    name: str
    script: tuple[str, ...]
    ready: str
    endpoints: Mapping[str, Endpoint]
    environment: str = ""
    requirements: tuple[str, ...] = field(default=())
    peer: bool = False

    def command(self, model: PublishedModel, port: int, folder: Path) -> list[str]:
        """Install the server if necessary, and return the command that starts it.

        Raises:
            PeerUnavailableError: it cannot be installed.
        """
        if not self.script:
            options = ["--pipeline", str(model.pipeline), "--store", str(model.store), "--port", str(port)]
            return [sys.executable, "-c", _CLI, "serve", *options]
        python = (
            str(peer_environment.python(self.environment, self.requirements)) if self.environment else sys.executable
        )
        script, *more = self.script
        return [python, str(SCRIPTS / script), str(model.model), str(port), str(folder), *more]


def _row_values(row: Row) -> Any:
    return {"rows": [list(row.values())]}


def _mlflow_inputs(row: Row) -> Any:
    return {"inputs": [list(row.values())]}


def _row_columns(row: Row) -> Any:
    return {"rows": [dict(row)]}


def _tensor(row: Row) -> Any:
    """Return the row as a tensor of the Open Inference Protocol."""
    tensor = {"name": "features", "shape": [1, len(COLUMNS)], "datatype": "FP64", "data": list(row.values())}
    return {"inputs": [tensor]}


def _expected_prediction(value: float) -> ExpectedValues:
    """Return the expected class and its probability, without a fallback."""
    row: Sequence[str | int] = ("predictions", 0)
    values: ExpectedValues = [((*row, "prediction"), str(int(value > 0.5))), ((*row, "score"), max(value, 1 - value))]
    return [*values, (("fallback",), False)]


def _expected_tensors(value: float) -> ExpectedValues:
    """Return the expected tensors of the Open Inference Protocol, without a fallback."""
    values: ExpectedValues = [(("outputs", 0, "data", 0), str(int(value > 0.5))), (("outputs", 2, "data", 1), value)]
    return [*values, (("parameters", "fallback"), False)]


def _value_at(*path: str | int) -> Callable[[float], ExpectedValues]:
    return lambda value: [(path, value)]


_OIP = Endpoint("/v2/models/trees/infer", _tensor, _value_at("outputs", 0, "data", 0))
_SCORES = Endpoint("/predict", _row_values, _value_at("scores", 0))

SERVERS = (
    Server(HELLO, ("serve_hello.py",), "/", {HELLO: Endpoint("/", _row_columns, lambda _: [(("hello",), "world")])}),
    Server(
        SERVICE, (), "/v2/health/ready",
        {
            "ai-workflow /predict": Endpoint("/predict", _row_columns, _expected_prediction),
            "ai-workflow /v2 infer": Endpoint(f"/v2/models/{NAME}/infer", _tensor, _expected_tensors),
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
        "bentoml", ("serve_bentoml.py",), "/readyz", {"BentoML async": Endpoint("/predict", _row_values, _value_at(0))},
        "bentoml", ("bentoml==1.4.40", *_UVICORN, "uvloop==0.23.0", *_MODEL), peer=True,
    ),
    Server(
        "litserve", ("serve_litserve.py",), "/health", {"LitServe": _SCORES},
        "litserve", ("litserve==0.2.19", *_UVICORN, "uvloop==0.23.0", *_MODEL), peer=True,
    ),
    Server(
        "mlflow", ("serve_mlflow.py",), "/ping",
        {"mlflow serve": Endpoint("/invocations", _mlflow_inputs, _value_at("predictions", 0))},
        "mlflow", ("mlflow==3.17.2", *_UVICORN, "uvloop==0.23.0", *_MODEL), peer=True,
    ),
)  # fmt: skip
