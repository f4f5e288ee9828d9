"""Inference endpoints: parse the request, run the model with fallback, format and log the response."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson

from ai_workflow.config.settings import Settings
from ai_workflow.features.row_encoder import InvalidRowsError
from ai_workflow.inference import prediction_columns
from ai_workflow.inference.worker import FEW_VALUES
from ai_workflow.serving.attempt_metrics import FailureReason
from ai_workflow.serving.logs.fallback_log import FallbackLog
from ai_workflow.serving.logs.prediction_log import PredictionLog, PredictionRecord
from ai_workflow.serving.protocol import json_body, oip, responses
from ai_workflow.serving.protocol.http_types import RETRY, Handler, HttpError, Request, Response
from ai_workflow.serving.protocol.inputs import InferenceInput, rows_of
from ai_workflow.serving.request_metrics import EXPIRED, RequestMetrics
from ai_workflow.serving.routing.fallback_chain import ChainResult, FallbackChain
from ai_workflow.serving.routing.loaded_model import MAX_VALUES
from ai_workflow.serving.routing.model_pool import ModelPool
from ai_workflow.serving.unseen_categories import UnseenCategories
from ai_workflow.telemetry import trace_context
from ai_workflow.telemetry.logs import logger

# Larger requests are handled in a thread, so that none of them blocks the event loop.
_FEW_ROWS = 32
_ID_BYTES = 16
# Python reads no whole number of more than 4300 of them, and no body is that long.
_MOST_DIGITS = 19
log = logger("serving")


class InferenceEndpoints:
    """The routes of inference, `POST /predict` and `POST /v2/models/<name>[/versions/<version>]/infer`.

    Args:
        settings: of the pipeline that is served.
        versions: which versions answer.
        book: the prediction log, if there is one.
        request_metrics: counts what becomes of requests.
        unseen: counts unseen categories.
    """

    def __init__(
        self,
        settings: Settings,
        versions: ModelPool,
        book: PredictionLog | None,
        request_metrics: RequestMetrics,
        unseen: UnseenCategories,
    ) -> None:
        self._versions, self._prediction_log, self._request_metrics, self._unseen = (
            versions,
            book,
            request_metrics,
            unseen,
        )
        self._pipeline, self._most_rows = settings.pipeline, settings.service.max_rows
        self._is_regression = settings.task == "regression"
        self._deadline = settings.inference.deadline_ms / 1000
        self._default = settings.inference.default_response
        self._model_path = f"/v2/models/{settings.pipeline}"
        self._routes: dict[str, Handler] = {"/predict": self._predict, f"{self._model_path}/infer": self._infer}
        self._loop = asyncio.get_running_loop()
        self._fallbacks = FallbackLog(self._loop.time)
        self._slow = ThreadPoolExecutor(1, thread_name_prefix="rows")

    def route(self, path: str) -> Handler | None:
        """Return what answers `POST` to a path, if it is one of inference."""
        return self._routes.get(path) or self._pinned(path)

    def _pinned(self, path: str) -> Handler | None:
        """Return the route of a path that names one version: no other version answers."""
        before, infix, after = path.partition("/versions/")
        version, _, verb = after.partition("/")
        if before != self._model_path or not infix or verb != "infer":
            return None

        async def infer(request: Request) -> Response:
            model = self._versions.find(version)
            if model is None:
                there = ", ".join(each.name for each in self._versions.chain.models) or "none"
                raise HttpError(
                    self._request_metrics.record_invalid(404), f"version '{version}' is not served; there is: {there}"
                )
            return await self._inferred(request, FallbackChain((model,)), is_pinned=True)

        return infer

    async def _predict(self, request: Request) -> Response:
        is_small = len(request.body) <= json_body.SMALL_BYTES
        input_rows = await self._done(is_small, _rows, request.body, self._most_rows)
        result, stem = await self._ask(input_rows, self._versions.chain, request, self._deadline)
        is_few = input_rows.rows <= FEW_VALUES
        response: Response = await self._done(is_few, _in_words, result, stem, request.trace_id, self._default or {})
        return response

    async def _infer(self, request: Request) -> Response:
        return await self._inferred(request, self._versions.chain, is_pinned=False)

    async def _inferred(self, request: Request, chain: FallbackChain, *, is_pinned: bool) -> Response:
        header = request.headers.get(b"inference-header-content-length")
        if header is not None and not (header.isdigit() and len(header) < _MOST_DIGITS):
            raise InvalidRowsError("Inference-Header-Content-Length is not a number of bytes")
        is_small = len(request.body) <= json_body.SMALL_BYTES
        length = int(header) if header is not None else None
        outputs = responses.output_names(self._is_regression)
        asked = await self._done(is_small, _parsed, request.body, length, self._most_rows, outputs)
        deadline = min(self._deadline, asked.timeout or self._deadline)
        result, stem = await self._ask(asked.input_rows, chain, request, deadline, is_pinned=is_pinned)
        body = responses.to_oip(result, stem, request.trace_id, self._pipeline, asked.id)
        is_few = len(result.chain_result.values) <= FEW_VALUES
        content, head = await self._done(is_few, _in_tensors, body, result, self._is_regression, asked)
        if head is None:
            return Response(content)
        binary = (b"content-type", b"application/octet-stream")
        return Response(content, (binary, (b"inference-header-content-length", b"%d" % head)))

    async def _ask(
        self,
        input_rows: InferenceInput,
        chain: FallbackChain,
        request: Request,
        deadline: float,
        *,
        is_pinned: bool = False,
    ) -> tuple[responses.InferenceResult, str]:
        """Return the reply, and the stem of its prediction ids.

        Raises:
            InvalidRowsError: the rows do not fit the version that is asked first.
            HttpError: no version answers, and there is no default for it.
        """
        width = max((model.loaded.output_count for model in chain.models), default=1)
        if input_rows.rows * width > MAX_VALUES:
            raise InvalidRowsError(
                f"{input_rows.rows} rows with {width} classes each are more than {MAX_VALUES} probabilities"
            )
        data = await self._encoded(input_rows, chain, is_small=len(request.body) <= json_body.SMALL_BYTES)
        chain_result = await chain.predict(
            input_rows.rows,
            lambda model: data.get(model.loaded.encoding_id),
            request.arrived + deadline,
            request.trace_id,
            is_client_deadline=deadline < self._deadline,
        )
        if log.isEnabledFor(logging.DEBUG):
            with trace_context.bound(trace_id=request.trace_id):
                log.debug("%d rows of %d bytes: %s", input_rows.rows, len(request.body), chain_result.attempts)
        if chain_result.model is None and (is_pinned or self._default is None):
            raise self._unanswered(chain_result, request)
        is_few = len(chain_result.values) <= FEW_VALUES
        result = await self._done(is_few, responses.to_result, chain_result, input_rows.rows, self._default or {})
        self._request_metrics.record_response(result, self._loop.time() - request.arrived, request.trace_id)
        if chain_result.is_fallback:
            self._fallbacks.report(chain_result, result.version, request.trace_id)
        is_small = len(request.body) <= json_body.SMALL_BYTES
        unseen = await self._done(is_small, _unseen, input_rows, chain_result, data)
        if chain_result.model is not None:
            self._unseen.count(chain_result.model.name, unseen, request.trace_id)
        # Unguessable: the id of a prediction is enough to send its label.
        stem = os.urandom(_ID_BYTES).hex()
        if self._prediction_log is not None:
            self._prediction_log.add(_record(input_rows, chain, request, result, stem, data))
        return result, stem

    async def _done(self, is_small: bool, work: Callable[..., Any], *arguments: Any) -> Any:
        """Return what work gives; it runs in a thread unless it is small."""
        return work(*arguments) if is_small else await self._loop.run_in_executor(self._slow, work, *arguments)

    async def _encoded(
        self, input_rows: InferenceInput, chain: FallbackChain, *, is_small: bool
    ) -> dict[str, bytes | None]:
        """Return the rows as each version takes them; None where they do not fit one that is a fallback only."""
        data: dict[str, bytes | None] = {}
        for model in chain.models:
            if model.loaded.encoding_id in data:
                continue
            try:
                made = input_rows.quick(model.loaded) if is_small and input_rows.rows <= _FEW_ROWS else None
                if made is None:
                    made = await self._loop.run_in_executor(self._slow, _made_ready, input_rows, model.loaded)
                data[model.loaded.encoding_id] = made
            except InvalidRowsError:
                if model is chain.first:
                    raise
                data[model.loaded.encoding_id] = None
        return data

    def _unanswered(self, chain_result: ChainResult, request: Request) -> HttpError:
        is_late = chain_result.last_failure is not None and chain_result.last_failure.is_late
        status = "timeout" if is_late else "rejected" if chain_result.last_failure is FailureReason.BUSY else "error"
        self._request_metrics.record_error(EXPIRED if chain_result.is_expired else status, request.trace_id)
        self._fallbacks.report(chain_result, "an error", request.trace_id)
        return HttpError(504 if is_late else 503, f"no answer: {chain_result.reasons}", RETRY)


def _record(
    input_rows: InferenceInput,
    chain: FallbackChain,
    request: Request,
    result: responses.InferenceResult,
    stem: str,
    data: Mapping[str, bytes | None],
) -> PredictionRecord:
    """Return the entry of the prediction log for a request."""
    first, columns = chain.first, _probability_columns(result.chain_result)
    return PredictionRecord(
        time.time(), request.trace_id, stem, result.version, result.chain_result.reasons, result.predictions,
        result.scores, input_rows.values(), data.get(first.loaded.encoding_id) if first else None,
        is_small=len(request.body) <= json_body.SMALL_BYTES, size=len(request.body),
        read_id=first.loaded.encoder.reader.row_id if first else None,
        probabilities=result.chain_result.values if columns else (), probability_columns=columns,
    )  # fmt: skip


def _probability_columns(chain_result: ChainResult) -> list[str]:
    """Return the columns for the probabilities that a version chain_result with."""
    return prediction_columns.of_classes(chain_result.model.loaded.classes) if chain_result.model is not None else []


def _rows(body: bytes, most: int) -> InferenceInput:
    try:
        return rows_of(json_body.read(body), most)
    except ValueError as error:
        raise InvalidRowsError(f"the body is not JSON: {error}") from error


def _in_words(result: responses.InferenceResult, stem: str, trace_id: str, default: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(responses.to_json(result, stem, trace_id, default)))


def _parsed(body: bytes, header: int | None, most: int, outputs: Sequence[str]) -> oip.InferRequest:
    asked = oip.parse(body, header, most)
    oip.check_outputs(asked, outputs)
    return asked


def _in_tensors(
    body: dict[str, Any], result: responses.InferenceResult, is_regression: bool, asked: oip.InferRequest
) -> tuple[bytes, int | None]:
    return oip.answer(body, responses.output_tensors(result, is_regression), asked)


def _made_ready(input_rows: InferenceInput, loaded: Any) -> bytes:
    made = input_rows.quick(loaded)
    return input_rows.careful(loaded) if made is None else made


def _unseen(input_rows: InferenceInput, chain_result: ChainResult, data: dict[str, bytes | None]) -> dict[str, int]:
    """Return the number of unseen categories by column in rows that a version chain_result."""
    model, rows = chain_result.model, input_rows.values()
    numbers = data.get(model.loaded.encoding_id) if model is not None else None
    if model is None or rows is None or numbers is None:
        return {}
    return model.loaded.encoder.unseen(rows, numbers)
