"""`POST /labels`: takes labels of predictions, checks them, and answers once they are on disk.

No model is asked, so labels delay no prediction.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ai_workflow.config.settings import Settings
from ai_workflow.errors import StoreError
from ai_workflow.quality.label_reader import REASONS, UNREADABLE, LabelReader, RejectedLabel
from ai_workflow.secret_values import scrub
from ai_workflow.serving.label_time import LabelTimeError, epoch
from ai_workflow.serving.logs.label_log import LabelLog
from ai_workflow.serving.protocol import json_body
from ai_workflow.serving.request_metrics import RequestMetrics
from ai_workflow.serving.routing.model_pool import ModelPool
from ai_workflow.telemetry import metrics

_LONGEST = 500
# So many requests with labels at a time, each with a body of its own.
_MOST_AT_ONCE = 16
_RETRY = {"retry-after": "1"}
_FORM = 'the body must be {"labels": [{"prediction_id": text, "label": text or number, "time": moment}, ...]}'


class LabelEndpoint:
    """Takes labels.

    Args:
        settings: of the pipeline that is served.
        log: keeps them; None where there is no place for it.
        request_metrics: counts what is refused.
        versions: the versions whose classes labels are.
    """

    def __init__(
        self, settings: Settings, log: LabelLog | None, request_metrics: RequestMetrics, versions: ModelPool
    ) -> None:
        self._log, self._request_metrics, self._versions = log, request_metrics, versions
        self._pipeline = settings.pipeline
        self._read_by: tuple[str, ...] | None = None
        self._reader: LabelReader
        for reason in REASONS:
            metrics.get("inference_labels_rejected_total").labels(self._pipeline, reason)
        self._most, self._most_bytes = settings.service.max_rows, settings.service.max_body_bytes
        self._is_number = settings.task == "regression"
        self._under_way = 0

    async def take(self, request: Request) -> Response:
        """Answer a request.

        Raises:
            HTTPException: what was sent are no labels, or they cannot be kept now.
        """
        if self._log is None:
            raise HTTPException(
                503, "labels have no place on this machine: name a folder, service.prediction_log.folder", _RETRY
            )
        if self._under_way >= _MOST_AT_ONCE:
            raise HTTPException(503, "too many requests with labels at a time", _RETRY)
        self._under_way += 1
        try:
            count, lines = await asyncio.to_thread(self._lines, await self._body(request))
            await self._log.add(lines)
        except StoreError as error:
            raise HTTPException(503, scrub(f"the labels are not kept: {error}"), _RETRY) from error
        except HTTPException as error:
            self._request_metrics.record_invalid(error.status_code)
            raise
        finally:
            self._under_way -= 1
        return Response(orjson.dumps({"accepted": count}), media_type="application/json")

    async def _body(self, request: Request) -> bytes:
        coding = request.headers.get("content-encoding", "identity")
        if coding.lower() != "identity":
            said = f"Content-Encoding {coding!r} is not taken: send the body as it is"
            raise HTTPException(415, said, {"accept-encoding": "identity", "connection": "close"})
        pieces, size = [], 0
        try:
            async for piece in request.stream():
                pieces.append(piece)
                size += len(piece)
                if size > self._most_bytes:
                    said = f"the body has more than {self._most_bytes} bytes (service.max_body_bytes)"
                    raise HTTPException(413, said, {"connection": "close"})
        except ClientDisconnect as error:
            raise HTTPException(400, "the body is not whole") from error
        return b"".join(pieces)

    def _lines(self, data: bytes) -> tuple[int, bytes]:
        """Return how many labels a body has, and the lines that are kept of them."""
        labels = self._read(data)
        return len(labels), b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in labels)

    def _read(self, data: bytes) -> list[dict[str, Any]]:
        """Return the labels as they are kept; one that is wrong refuses them all."""
        try:
            body = json_body.read(data)
        except ValueError as error:
            raise HTTPException(400, f"the body is not JSON: {error}") from error
        labels = body.get("labels") if type(body) is dict else None
        if type(labels) is not list or not labels:
            raise HTTPException(400, f"{_FORM}, with one label at least")
        if len(labels) > self._most:
            said = f"{len(labels)} labels are more than the {self._most} that one request may have (service.max_rows)"
            raise HTTPException(400, said)
        now = time.time()
        lines = [self._line(number, label, now) for number, label in enumerate(labels)]
        for number, read in enumerate(self._by_versions().read([line["label"] for line in lines])):
            if isinstance(read, RejectedLabel):
                raise self._rejected(number, read)
            lines[number]["label"] = read
        return lines

    def _by_versions(self) -> LabelReader:
        """Return the reader by the versions that are loaded now, the latest first."""
        models = self._versions.chain.models
        names = tuple(model.name for model in models)
        if names != self._read_by:
            self._reader = LabelReader([model.loaded.encoder.spec for model in models], is_number=self._is_number)
            self._read_by = names
        return self._reader

    def _rejected(self, number: int, read: RejectedLabel) -> HTTPException:
        metrics.get("inference_labels_rejected_total").labels(self._pipeline, read.reason).inc()
        return HTTPException(400, f"labels[{number}].label {read.text}")

    def _line(self, number: int, label: Any, now: float) -> dict[str, Any]:
        if type(label) is not dict:
            raise HTTPException(400, f"labels[{number}] is not a mapping: {_FORM}")
        name, given = label.get("prediction_id"), label.get("label")
        if type(name) is not str or not 0 < len(name) <= _LONGEST:
            raise HTTPException(400, f"labels[{number}].prediction_id is not a text of 1 to {_LONGEST} characters")
        is_text = type(given) is str and 0 < len(given) <= _LONGEST
        if not is_text and type(given) not in (int, float, bool):
            due = f"a text of 1 to {_LONGEST} characters, a number, true or false"
            raise self._rejected(number, RejectedLabel(UNREADABLE, f"is not {due}"))
        try:
            moment = epoch(label["time"], now) if label.get("time") is not None else now
        except LabelTimeError as error:
            raise HTTPException(400, f"labels[{number}].time {error}") from error
        return {"prediction_id": name, "label": given, "time": moment}
