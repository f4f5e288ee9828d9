"""Inference endpoints: parse the request, run the model with fallback, format and log the response."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson

from ai_workflow.config.settings import Settings
from ai_workflow.features.row_encoder import InvalidRowsError
from ai_workflow.inference import fallback
from ai_workflow.inference.worker import FEW_VALUES
from ai_workflow.serving import explained_predictions
from ai_workflow.serving.attempt_metrics import FailureReason
from ai_workflow.serving.logs import prediction_record
from ai_workflow.serving.logs.fallback_log import FallbackLog
from ai_workflow.serving.logs.prediction_log import PredictionLog
from ai_workflow.serving.protocol import json_body, oip, responses
from ai_workflow.serving.protocol.http_types import RETRY, Handler, HttpError, Request, Response
from ai_workflow.serving.protocol.inputs import InferenceInput, parse_rows
from ai_workflow.serving.protocol.responses import Explanation, InferenceResult
from ai_workflow.serving.request_metrics import EXPIRED, RequestMetrics
from ai_workflow.serving.routing.fallback_chain import ChainResult, FallbackChain
from ai_workflow.serving.routing.loaded_model import MAX_VALUES, LoadedModel
from ai_workflow.serving.routing.model_pool import ModelPool
from ai_workflow.serving.unseen_categories import UnseenCategories
from ai_workflow.telemetry import trace_context
from ai_workflow.telemetry.logs import logger

# Larger requests are encoded in a thread, so that none of them blocks the event loop.
_MAX_INLINE_ROWS = 32
_ID_BYTES = 16
# Python limits the digits of an integer to 4300, and no body is that long.
_MAX_LENGTH_DIGITS = 19
log = logger("serving")


class InferenceEndpoints:
    """`POST /predict[/<name>]` and `POST /v2/models/<name>[/versions/<version>]/infer`.

    Args:
        settings: the configuration of the pipeline.
        pool: the served model versions.
        prediction_log: the prediction log, if enabled.
        request_metrics: the metrics of requests.
        unseen: the counters of unseen categories.
    """

    def __init__(
        self,
        settings: Settings,
        pool: ModelPool,
        prediction_log: PredictionLog | None,
        request_metrics: RequestMetrics,
        unseen: UnseenCategories,
    ) -> None:
        self._pool, self._prediction_log = pool, prediction_log
        self._request_metrics, self._unseen = request_metrics, unseen
        self._pipeline, self._max_rows = settings.pipeline, settings.service.max_rows
        self._is_regression = settings.task == "regression"
        self._deadline_seconds = settings.inference.deadline_ms / 1000
        self._default = settings.inference.default_response
        self._model_path = f"/v2/models/{settings.pipeline}"
        self._handlers: dict[str, Handler] = {
            "/predict": self._predict,
            f"/predict/{settings.pipeline}": self._predict,
            f"{self._model_path}/infer": self._infer,
        }
        self._loop = asyncio.get_running_loop()
        self._fallbacks = FallbackLog(self._loop.time)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="rows")

    def handler(self, path: str) -> Handler | None:
        """Return the handler of `POST` to a path, or None if the path is not an inference endpoint."""
        return self._handlers.get(path) or self._version_handler(path)

    def with_query(self, handler: Handler, query: bytes) -> Handler:
        """Return the handler of a path with a query, of which only `explain` is read."""

        async def respond(request: Request) -> Response:
            if not explained_predictions.is_requested(query):
                return await handler(request)
            if handler != self._predict:
                raise InvalidRowsError("explain=1 is a parameter of POST /predict only")
            return await self._predict_explained(request)

        return respond

    def _version_handler(self, path: str) -> Handler | None:
        """Return the handler of a path that names a version; it has no fallback."""
        prefix, infix, suffix = path.partition("/versions/")
        version, _, verb = suffix.partition("/")
        if prefix != self._model_path or not infix or verb != "infer":
            return None

        async def infer(request: Request) -> Response:
            model = self._pool.find(version)
            if model is None:
                served = ", ".join(each.name for each in self._pool.chain.models) or "none"
                status = self._request_metrics.record_invalid(404)
                raise HttpError(status, f"version '{version}' is not served. Served versions: {served}")
            return await self._run_oip(request, FallbackChain((model,)), has_fallback=False)

        return infer

    async def _predict(self, request: Request) -> Response:
        is_small = len(request.body) <= json_body.SMALL_BYTES
        rows = await self._run(is_small, _parse_rows, request.body, self._max_rows)
        result, request_id = await self._infer_rows(rows, self._pool.chain, request, self._deadline_seconds)
        is_small = rows.row_count <= FEW_VALUES
        response: Response = await self._run(
            is_small, _json_response, result, request_id, request.trace_id, self._default or {}
        )
        return response

    async def _predict_explained(self, request: Request) -> Response:
        is_small = len(request.body) <= json_body.SMALL_BYTES
        rows = await self._run(is_small, _parse_rows, request.body, self._max_rows)
        explained_predictions.check(rows.row_count, self._pool.chain.first)
        result, request_id = await self._infer_rows(rows, self._pool.chain, request, self._deadline_seconds)
        body = responses.to_json(result, request_id, request.trace_id, self._default or {})
        model = result.chain_result.model
        explanations: list[Explanation] = []
        problem: str | None = "the default response has no contributions"
        if model is not None:
            encoded = await self._encode(rows, FallbackChain((model,)), is_small=is_small)
            deadline = fallback.attempt_deadline(
                self._loop.time(), request.arrived_at + self._deadline_seconds, has_fallback=False
            )
            data = encoded[model.loaded.encoding_id] or b""
            explanations, problem = await explained_predictions.explain(model, data, result, deadline)
        explained = responses.add_explanations(body, explanations, problem)
        return await self._run(False, _explained_response, explained)  # type: ignore[no-any-return]

    async def _infer(self, request: Request) -> Response:
        return await self._run_oip(request, self._pool.chain, has_fallback=True)

    async def _run_oip(self, request: Request, chain: FallbackChain, *, has_fallback: bool) -> Response:
        header = request.headers.get(b"inference-header-content-length")
        if header is not None and not (header.isdigit() and len(header) < _MAX_LENGTH_DIGITS):
            raise InvalidRowsError("Inference-Header-Content-Length is not a number of bytes")
        is_small = len(request.body) <= json_body.SMALL_BYTES
        json_bytes = int(header) if header is not None else None
        names = responses.output_names(self._is_regression)
        parsed = await self._run(is_small, _parse_oip, request.body, json_bytes, self._max_rows, names)
        seconds = min(self._deadline_seconds, parsed.timeout or self._deadline_seconds)
        result, request_id = await self._infer_rows(parsed.input, chain, request, seconds, has_fallback=has_fallback)
        body = responses.to_oip(result, request_id, request.trace_id, self._pipeline, parsed.id)
        is_small = len(result.chain_result.values) <= FEW_VALUES
        content, json_bytes = await self._run(is_small, _tensor_response, body, result, self._is_regression, parsed)
        if json_bytes is None:
            return Response(content)
        binary = (b"content-type", b"application/octet-stream")
        return Response(content, (binary, (b"inference-header-content-length", b"%d" % json_bytes)))

    async def _infer_rows(
        self, rows: InferenceInput, chain: FallbackChain, request: Request, seconds: float, *, has_fallback: bool = True
    ) -> tuple[InferenceResult, str]:
        """Return the result of a request, and the ID that its prediction IDs start with.

        Raises:
            InvalidRowsError: the rows do not fit the schema of the first version.
            HttpError: all versions failed, and there is no default response.
        """
        width = max((model.loaded.output_count for model in chain.models), default=1)
        if rows.row_count * width > MAX_VALUES:
            raise InvalidRowsError(
                f"{rows.row_count} rows with {width} classes each are more than {MAX_VALUES} probabilities"
            )
        is_small = len(request.body) <= json_body.SMALL_BYTES
        encoded = await self._encode(rows, chain, is_small=is_small)
        chain_result = await chain.predict(
            rows.row_count,
            lambda model: encoded.get(model.loaded.encoding_id),
            request.arrived_at + seconds,
            request.trace_id,
            is_client_deadline=seconds < self._deadline_seconds,
        )
        if log.isEnabledFor(logging.DEBUG):
            with trace_context.bound(trace_id=request.trace_id):
                log.debug("%d rows of %d bytes: %s", rows.row_count, len(request.body), chain_result.attempts)
        model = chain_result.model
        if model is None and (not has_fallback or self._default is None):
            raise self._failure(chain_result, request)
        is_few = len(chain_result.values) <= FEW_VALUES
        result = await self._run(is_few, responses.to_result, chain_result, rows.row_count, self._default or {})
        self._request_metrics.record_response(result, self._loop.time() - request.arrived_at, request.trace_id)
        if chain_result.is_fallback:
            self._fallbacks.report(chain_result, result.version, request.trace_id)
        unseen = await self._run(is_small, _count_unseen, rows, chain_result, encoded)
        if model is not None:
            self._unseen.count(model.name, unseen, request.trace_id)
        # Unguessable, because a prediction ID is enough to send a label.
        request_id = os.urandom(_ID_BYTES).hex()
        if self._prediction_log is not None:
            self._prediction_log.add(prediction_record.create(rows, chain, request, result, request_id, encoded))
        return result, request_id

    async def _run(self, is_small: bool, work: Callable[..., Any], *arguments: Any) -> Any:
        """Return the result of a function; run it in a thread unless its input is small."""
        return work(*arguments) if is_small else await self._loop.run_in_executor(self._executor, work, *arguments)

    async def _encode(self, rows: InferenceInput, chain: FallbackChain, *, is_small: bool) -> dict[str, bytes | None]:
        """Return the rows by encoding; None if they do not fit the schema of a version that is only a fallback."""
        encoded: dict[str, bytes | None] = {}
        for model in chain.models:
            encoding_id = model.loaded.encoding_id
            if encoding_id in encoded:
                continue
            try:
                data = rows.encode_fast(model.loaded) if is_small and rows.row_count <= _MAX_INLINE_ROWS else None
                if data is None:
                    data = await self._loop.run_in_executor(self._executor, _encode, rows, model.loaded)
                encoded[encoding_id] = data
            except InvalidRowsError:
                if model is chain.first:
                    raise
                encoded[encoding_id] = None
        return encoded

    def _failure(self, chain_result: ChainResult, request: Request) -> HttpError:
        last_failure = chain_result.last_failure
        is_late = last_failure is not None and last_failure.is_late
        status = "timeout" if is_late else "rejected" if last_failure is FailureReason.BUSY else "error"
        self._request_metrics.record_error(EXPIRED if chain_result.is_expired else status, request.trace_id)
        self._fallbacks.report(chain_result, "an error", request.trace_id)
        return HttpError(504 if is_late else 503, f"all versions failed: {chain_result.reasons}", RETRY)


def _parse_rows(body: bytes, max_rows: int) -> InferenceInput:
    try:
        return parse_rows(json_body.read(body), max_rows)
    except ValueError as error:
        raise InvalidRowsError(f"the body is not JSON: {error}") from error


def _json_response(result: InferenceResult, request_id: str, trace_id: str, default: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(responses.to_json(result, request_id, trace_id, default)))


def _explained_response(body: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(body))


def _parse_oip(body: bytes, json_bytes: int | None, max_rows: int, names: Sequence[str]) -> oip.InferRequest:
    parsed = oip.parse(body, json_bytes, max_rows)
    oip.check_outputs(parsed, names)
    return parsed


def _tensor_response(
    body: responses.OipBody, result: InferenceResult, is_regression: bool, parsed: oip.InferRequest
) -> tuple[bytes, int | None]:
    return oip.serialize(body, responses.output_tensors(result, is_regression), parsed)


def _encode(rows: InferenceInput, loaded: LoadedModel) -> bytes:
    data = rows.encode_fast(loaded)
    return rows.encode(loaded) if data is None else data


def _count_unseen(
    rows: InferenceInput, chain_result: ChainResult, encoded: Mapping[str, bytes | None]
) -> dict[str, int]:
    """Return the number of unseen categories by column in the rows of a successful request."""
    model, raw_rows = chain_result.model, rows.raw_rows()
    features = encoded.get(model.loaded.encoding_id) if model is not None else None
    if model is None or raw_rows is None or features is None:
        return {}
    return model.loaded.encoder.unseen(raw_rows, features)
