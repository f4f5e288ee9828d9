"""`POST /labels`: validates labels of predictions, and responds once they are on disk.

It uses no model worker, so labels do not delay predictions.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, TypedDict

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ai_workflow.config.settings import Settings
from ai_workflow.errors import StoreError
from ai_workflow.http_server import request_body
from ai_workflow.quality.label_reader import REASONS, UNREADABLE, LabelReader, RejectedLabel
from ai_workflow.secret_values import scrub
from ai_workflow.serving.label_time import LabelTimeError, parse_label_time
from ai_workflow.serving.logs.label_log import LabelLog
from ai_workflow.serving.protocol import json_body
from ai_workflow.serving.request_metrics import RequestMetrics
from ai_workflow.serving.routing.model_pool import ModelPool
from ai_workflow.telemetry import metrics

_MAX_TEXT_LENGTH = 500
# Each request holds a body in memory.
_MAX_CONCURRENT_REQUESTS = 16
_RETRY = {"retry-after": "1"}
_FORM = 'the body must be {"labels": [{"prediction_id": text, "label": text or number, "time": timestamp}, ...]}'


class LabelLine(TypedDict):
    """A line of the label log."""

    prediction_id: str
    label: Any
    time: float


class LabelEndpoint:
    """Handler of `POST /labels`.

    Args:
        settings: the configuration of the pipeline.
        log: the label log; None if there is no local folder for it.
        request_metrics: the metrics of requests.
        pool: the served model versions, whose classes labels must have.
    """

    def __init__(
        self, settings: Settings, log: LabelLog | None, request_metrics: RequestMetrics, pool: ModelPool
    ) -> None:
        self._log, self._request_metrics, self._pool = log, request_metrics, pool
        self._pipeline = settings.pipeline
        self._reader_versions: tuple[str, ...] | None = None
        self._reader: LabelReader
        for reason in REASONS:
            metrics.get("inference_labels_rejected_total").labels(self._pipeline, reason)
        self._max_labels, self._max_bytes = settings.service.max_rows, settings.service.max_body_bytes
        self._is_number = settings.task == "regression"
        self._in_flight = 0

    async def handle(self, request: Request) -> Response:
        """Store the labels of a request.

        Raises:
            HTTPException: the labels are invalid, or cannot be stored now.
        """
        if self._log is None:
            raise HTTPException(
                503, "labels have no local folder on this machine. Set service.prediction_log.folder", _RETRY
            )
        if self._in_flight >= _MAX_CONCURRENT_REQUESTS:
            raise HTTPException(503, "too many concurrent requests with labels", _RETRY)
        self._in_flight += 1
        try:
            count, lines = await asyncio.to_thread(self._serialize, await self._body(request))
            await self._log.add(lines)
        except StoreError as error:
            raise HTTPException(503, scrub(f"the labels are not stored: {error}"), _RETRY) from error
        except HTTPException as error:
            self._request_metrics.record_invalid(error.status_code)
            raise
        finally:
            self._in_flight -= 1
        return Response(orjson.dumps({"accepted": count}), media_type="application/json")

    async def _body(self, request: Request) -> bytes:
        encoding = request.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            text = f"Content-Encoding {encoding!r} is not supported. Send the body without it"
            raise HTTPException(415, text, {"accept-encoding": "identity", "connection": "close"})
        try:
            return await request_body.read(request.receive, self._max_bytes)
        except request_body.BodyTooLargeError as error:
            raise HTTPException(413, f"{error} (service.max_body_bytes)", {"connection": "close"}) from error
        except ClientDisconnect as error:
            raise HTTPException(400, "the body is incomplete") from error

    def _serialize(self, data: bytes) -> tuple[int, bytes]:
        """Return the number of labels of a body, and their lines for the log."""
        labels = self._parse(data)
        return len(labels), b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in labels)

    def _parse(self, data: bytes) -> list[LabelLine]:
        """Return the labels of a body; one invalid label rejects all of them."""
        try:
            body = json_body.read(data)
        except ValueError as error:
            raise HTTPException(400, f"the body is not JSON: {error}") from error
        labels = body.get("labels") if type(body) is dict else None
        if type(labels) is not list or not labels:
            raise HTTPException(400, f"{_FORM}, with at least one label")
        if len(labels) > self._max_labels:
            limit = f"{self._max_labels}, the limit of a request (service.max_rows)"
            raise HTTPException(400, f"{len(labels)} labels are more than {limit}")
        now = time.time()
        lines = [self._line(number, label, now) for number, label in enumerate(labels)]
        for number, value in enumerate(self._label_reader().read([line["label"] for line in lines])):
            if isinstance(value, RejectedLabel):
                raise self._rejected(number, value)
            lines[number]["label"] = value
        return lines

    def _label_reader(self) -> LabelReader:
        """Return the reader of the versions that are loaded now, the latest first."""
        models = self._pool.chain.models
        names = tuple(model.name for model in models)
        if names != self._reader_versions:
            self._reader = LabelReader([model.loaded.encoder.spec for model in models], is_number=self._is_number)
            self._reader_versions = names
        return self._reader

    def _rejected(self, number: int, rejected: RejectedLabel) -> HTTPException:
        metrics.get("inference_labels_rejected_total").labels(self._pipeline, rejected.reason).inc()
        return HTTPException(400, f"labels[{number}].label {rejected.text}")

    def _line(self, number: int, entry: Any, now: float) -> LabelLine:
        if type(entry) is not dict:
            raise HTTPException(400, f"labels[{number}] is not a mapping: {_FORM}")
        prediction_id, label = entry.get("prediction_id"), entry.get("label")
        if type(prediction_id) is not str or not 0 < len(prediction_id) <= _MAX_TEXT_LENGTH:
            text = f"labels[{number}].prediction_id is not a text of 1 to {_MAX_TEXT_LENGTH} characters"
            raise HTTPException(400, text)
        is_text = type(label) is str and 0 < len(label) <= _MAX_TEXT_LENGTH
        if not is_text and type(label) not in (int, float, bool):
            expected = f"a text of 1 to {_MAX_TEXT_LENGTH} characters, a number, true or false"
            raise self._rejected(number, RejectedLabel(UNREADABLE, f"is not {expected}"))
        try:
            timestamp = parse_label_time(entry["time"], now) if entry.get("time") is not None else now
        except LabelTimeError as error:
            raise HTTPException(400, f"labels[{number}].time {error}") from error
        return {"prediction_id": prediction_id, "label": label, "time": timestamp}
