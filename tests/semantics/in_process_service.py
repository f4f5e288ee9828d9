"""The service of a pipeline within this process: its ASGI application and a real process of the model."""

from __future__ import annotations

import asyncio
import json
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ai_workflow.serving.app import InferenceApp
from ai_workflow.serving.attempt_metrics import AttemptMetrics
from ai_workflow.serving.auth import Authenticator
from ai_workflow.serving.endpoints import InferenceEndpoints
from ai_workflow.serving.logs.prediction_record import PredictionRecord
from ai_workflow.serving.protocol.tensors import NUMBER_FORMATS
from ai_workflow.serving.request_metrics import RequestMetrics
from ai_workflow.serving.routing.loaded_model import LoadedModel
from ai_workflow.serving.routing.model_pool import ModelPool
from ai_workflow.serving.routing.served_model import ServedModel
from ai_workflow.serving.unseen_categories import UnseenCategories
from tests.semantics.pipeline import Pipeline, Scored

_PROBLEM = re.compile(r"(?:^|; )rows\[(\d+)\]\.(\w+) ")
_MORE = re.compile(r", and (\d+) more$")
Row = Mapping[str, Any]


class Records:
    """A prediction log that keeps the newest record, with the numbers that the model was given."""

    data: bytes = b""

    def add(self, record: PredictionRecord) -> None:
        self.data = record.features or b""


class Door:
    """The service; use it as a context manager.

    Args:
        pipeline: whose versions it serves.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline, self._records = pipeline, Records()
        self._loop = asyncio.Runner()

    def __enter__(self) -> Door:
        self._loop.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._versions.close())
        self._loop.close()

    async def _start(self) -> None:
        settings, patience = self._pipeline.settings, self._pipeline.settings.inference.deadline_ms / 1000
        request_metrics = RequestMetrics(settings.pipeline)
        unseen = UnseenCategories(settings.pipeline, request_metrics.exemplars)

        def model(version: LoadedModel) -> ServedModel:
            attempts = AttemptMetrics(settings.pipeline, version.name, request_metrics.exemplars)
            return ServedModel(version, attempts, settings.service.max_queue, patience, settings.model.timeout)

        self._versions = ModelPool(self._pipeline.registry, model, 60, request_metrics, unseen)
        await self._versions.refresh()
        book: Any = self._records
        answering = InferenceEndpoints(settings, self._versions, book, request_metrics, unseen)
        self._app = InferenceApp(settings.service, answering, Authenticator(settings.service), None, request_metrics)

    def post(self, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        """Return status and body of the response to a request."""
        return self._loop.run(self._post(path, body, headers))

    async def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        head = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": head}
        await self._app(scope, receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"])

    def predict(self, rows: Sequence[Row]) -> Scored:
        """Return what `POST /predict` makes of rows in one request."""
        status, body = self.post("/predict", json.dumps({"rows": rows}).encode())
        if status != 200:
            return self._refused(status, body)
        answers = [(each["prediction"], each["score"]) for each in body["predictions"]]
        return self._answered(answers, len(rows))

    def infer(self, inputs: Sequence[Mapping[str, Any]], rows: int, *, binary: bool) -> Scored:
        """Return what the Open Inference Protocol makes of tensors in one request.

        Args:
            inputs: `name`, `datatype` and `data` of each tensor.
            rows: how many values each tensor has.
            binary: whether their data is binary.
        """
        described, tail = [], b""
        for each in inputs:
            tensor: dict[str, Any] = {"name": each["name"], "datatype": each["datatype"], "shape": [rows]}
            if binary:
                data = packed(each["datatype"], each["data"])
                tensor["parameters"] = {"binary_data_size": len(data)}
                tail += data
            else:
                tensor["data"] = list(each["data"])
            described.append(tensor)
        head = json.dumps({"inputs": described}).encode()
        headers = {"inference_header_content_length": str(len(head))} if binary else {}
        status, body = self.post("/v2/models/twodoors/infer", head + tail, **headers)
        if status != 200:
            return self._refused(status, body)
        outputs = {output["name"]: output["data"] for output in body["outputs"]}
        return self._answered(list(zip(outputs["prediction"], outputs["score"], strict=True)), rows)

    def _answered(self, answers: list[tuple[Any, float]], rows: int) -> Scored:
        assert len(answers) == rows
        data, width = self._records.data, len(self._records.data) // rows
        numbers = [data[row * width : (row + 1) * width] for row in range(rows)]
        return Scored({row: (numbers[row], *answers[row]) for row in range(rows)}, {})

    @staticmethod
    def _refused(status: int, body: Mapping[str, Any]) -> Scored:
        """Return the cells that a response names."""
        assert status == 400, body
        named = _PROBLEM.findall(body["error"])
        assert named, body
        refused: dict[int, tuple[str, ...]] = {}
        for row, column in named:
            refused[int(row)] = (*refused.get(int(row), ()), column)
        more = _MORE.search(body["error"])
        return Scored({}, refused, len(named) + (int(more[1]) if more else 0))


def packed(datatype: str, data: Sequence[Any]) -> bytes:
    """Return values as a binary tensor has them."""
    if datatype == "BYTES":
        texts = [text.encode() for text in data]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return np.array(data, dtype=NUMBER_FORMATS[datatype]).tobytes()
