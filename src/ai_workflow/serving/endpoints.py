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
from ai_workflow.features.row_encoder import BadRows
from ai_workflow.inference import prediction_columns
from ai_workflow.inference.worker import FEW_VALUES
from ai_workflow.serving.attempt_metrics import Outcome
from ai_workflow.serving.logs.fallback_log import FallbackLog
from ai_workflow.serving.logs.prediction_log import PredictionLog, Record
from ai_workflow.serving.protocol import json_body, oip, responses
from ai_workflow.serving.protocol.error_texts import RETRY, Refused, Request, Response, Route
from ai_workflow.serving.protocol.inputs import Question, rows_of
from ai_workflow.serving.request_metrics import EXPIRED, Tally
from ai_workflow.serving.routing.fallback_chain import Answered, Chain
from ai_workflow.serving.routing.loaded_model import MAX_VALUES
from ai_workflow.serving.routing.model_pool import Versions
from ai_workflow.serving.unseen_categories import UnseenCategories
from ai_workflow.telemetry import trace_context
from ai_workflow.telemetry.logs import logger

# Larger requests are handled in a thread, so that none of them blocks the event loop.
_FEW_ROWS = 32
_ID_BYTES = 16
# Python reads no whole number of more than 4300 of them, and no body is that long.
_MOST_DIGITS = 19
log = logger("serving")


class Answering:
    """The routes of inference, `POST /predict` and `POST /v2/models/<name>[/versions/<version>]/infer`.

    Args:
        settings: of the pipeline that is served.
        versions: which versions answer.
        book: the prediction log, if there is one.
        tally: counts what becomes of requests.
        unseen: counts unseen categories.
    """

    def __init__(
        self,
        settings: Settings,
        versions: Versions,
        book: PredictionLog | None,
        tally: Tally,
        unseen: UnseenCategories,
    ) -> None:
        self._versions, self._book, self._tally, self._unseen = versions, book, tally, unseen
        self._pipeline, self._most_rows = settings.pipeline, settings.service.max_rows
        self._is_regression = settings.task == "regression"
        self._deadline = settings.inference.deadline_ms / 1000
        self._default = settings.inference.default_response
        self._model = f"/v2/models/{settings.pipeline}"
        self._routes: dict[str, Route] = {"/predict": self._predict, f"{self._model}/infer": self._infer}
        self._loop = asyncio.get_running_loop()
        self._fallbacks = FallbackLog(self._loop.time)
        self._slow = ThreadPoolExecutor(1, thread_name_prefix="rows")

    def route(self, path: str) -> Route | None:
        """Return what answers `POST` to a path, if it is one of inference."""
        return self._routes.get(path) or self._pinned(path)

    def _pinned(self, path: str) -> Route | None:
        """Return the route of a path that names one version: no other version answers."""
        before, infix, after = path.partition("/versions/")
        version, _, verb = after.partition("/")
        if before != self._model or not infix or verb != "infer":
            return None

        async def infer(request: Request) -> Response:
            slot = self._versions.named(version)
            if slot is None:
                there = ", ".join(each.name for each in self._versions.chain.slots) or "none"
                raise Refused(self._tally.invalid(404), f"version '{version}' is not served; there is: {there}")
            return await self._inferred(request, Chain((slot,)), is_pinned=True)

        return infer

    async def _predict(self, request: Request) -> Response:
        is_small = len(request.body) <= json_body.SMALL_BYTES
        question = await self._done(is_small, _rows, request.body, self._most_rows)
        found, stem = await self._ask(question, self._versions.chain, request, self._deadline)
        is_few = question.rows <= FEW_VALUES
        response: Response = await self._done(is_few, _in_words, found, stem, request.trace_id, self._default or {})
        return response

    async def _infer(self, request: Request) -> Response:
        return await self._inferred(request, self._versions.chain, is_pinned=False)

    async def _inferred(self, request: Request, chain: Chain, *, is_pinned: bool) -> Response:
        header = request.headers.get(b"inference-header-content-length")
        if header is not None and not (header.isdigit() and len(header) < _MOST_DIGITS):
            raise BadRows("Inference-Header-Content-Length is not a number of bytes")
        is_small = len(request.body) <= json_body.SMALL_BYTES
        length = int(header) if header is not None else None
        outputs = responses.outputs(self._is_regression)
        asked = await self._done(is_small, _parsed, request.body, length, self._most_rows, outputs)
        deadline = min(self._deadline, asked.timeout or self._deadline)
        found, stem = await self._ask(asked.question, chain, request, deadline, is_pinned=is_pinned)
        body = responses.in_protocol(found, stem, request.trace_id, self._pipeline, asked.id)
        is_few = len(found.answered.values) <= FEW_VALUES
        content, head = await self._done(is_few, _in_tensors, body, found, self._is_regression, asked)
        if head is None:
            return Response(content)
        binary = (b"content-type", b"application/octet-stream")
        return Response(content, (binary, (b"inference-header-content-length", b"%d" % head)))

    async def _ask(
        self, question: Question, chain: Chain, request: Request, deadline: float, *, is_pinned: bool = False
    ) -> tuple[responses.Reply, str]:
        """Return the reply, and the stem of its prediction ids.

        Raises:
            BadRows: the rows do not fit the version that is asked first.
            Refused: no version answers, and there is no default for it.
        """
        width = max((slot.loaded.outputs for slot in chain.slots), default=1)
        if question.rows * width > MAX_VALUES:
            raise BadRows(f"{question.rows} rows with {width} classes each are more than {MAX_VALUES} probabilities")
        data = await self._encoded(question, chain, is_small=len(request.body) <= json_body.SMALL_BYTES)
        answered = await chain.answer(
            question.rows,
            lambda slot: data.get(slot.loaded.schema),
            request.arrived + deadline,
            request.trace_id,
            expires=deadline < self._deadline,
        )
        if log.isEnabledFor(logging.DEBUG):
            with trace_context.bound(trace_id=request.trace_id):
                log.debug("%d rows of %d bytes: %s", question.rows, len(request.body), answered.attempts)
        if answered.slot is None and (is_pinned or self._default is None):
            raise self._unanswered(answered, request)
        is_few = len(answered.values) <= FEW_VALUES
        found = await self._done(is_few, responses.reply, answered, question.rows, self._default or {})
        self._tally.final(found, self._loop.time() - request.arrived, request.trace_id)
        if answered.fell_back:
            self._fallbacks.report(answered, found.version, request.trace_id)
        is_small = len(request.body) <= json_body.SMALL_BYTES
        unseen = await self._done(is_small, _unseen, question, answered, data)
        if answered.slot is not None:
            self._unseen.count(answered.slot.name, unseen, request.trace_id)
        # Unguessable: the id of a prediction is enough to send its label.
        stem = os.urandom(_ID_BYTES).hex()
        if self._book is not None:
            self._book.add(_record(question, chain, request, found, stem, data))
        return found, stem

    async def _done(self, is_small: bool, work: Callable[..., Any], *arguments: Any) -> Any:
        """Return what work gives; it runs in a thread unless it is small."""
        return work(*arguments) if is_small else await self._loop.run_in_executor(self._slow, work, *arguments)

    async def _encoded(self, question: Question, chain: Chain, *, is_small: bool) -> dict[str, bytes | None]:
        """Return the rows as each version takes them; None where they do not fit one that is a fallback only."""
        data: dict[str, bytes | None] = {}
        for slot in chain.slots:
            if slot.loaded.schema in data:
                continue
            try:
                made = question.quick(slot.loaded) if is_small and question.rows <= _FEW_ROWS else None
                if made is None:
                    made = await self._loop.run_in_executor(self._slow, _made_ready, question, slot.loaded)
                data[slot.loaded.schema] = made
            except BadRows:
                if slot is chain.first:
                    raise
                data[slot.loaded.schema] = None
        return data

    def _unanswered(self, answered: Answered, request: Request) -> Refused:
        is_late = answered.last is not None and answered.last.is_late
        status = "timeout" if is_late else "rejected" if answered.last is Outcome.BUSY else "error"
        self._tally.unanswered(EXPIRED if answered.is_expired else status, request.trace_id)
        self._fallbacks.report(answered, "an error", request.trace_id)
        return Refused(504 if is_late else 503, f"no answer: {answered.reasons}", RETRY)


def _record(
    question: Question,
    chain: Chain,
    request: Request,
    found: responses.Reply,
    stem: str,
    data: Mapping[str, bytes | None],
) -> Record:
    """Return the entry of the prediction log for a request."""
    first, columns = chain.first, _probability_columns(found.answered)
    return Record(
        time.time(), request.trace_id, stem, found.version, found.answered.reasons, found.predictions,
        found.scores, question.values(), data.get(first.loaded.schema) if first else None,
        is_small=len(request.body) <= json_body.SMALL_BYTES, size=len(request.body),
        read_id=first.loaded.encoder.reader.row_id if first else None,
        probabilities=found.answered.values if columns else (), probability_columns=columns,
    )  # fmt: skip


def _probability_columns(answered: Answered) -> list[str]:
    """Return the columns for the probabilities that a version answered with."""
    return prediction_columns.of_classes(answered.slot.loaded.classes) if answered.slot is not None else []


def _rows(body: bytes, most: int) -> Question:
    try:
        return rows_of(json_body.read(body), most)
    except ValueError as error:
        raise BadRows(f"the body is not JSON: {error}") from error


def _in_words(found: responses.Reply, stem: str, trace_id: str, default: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(responses.in_words(found, stem, trace_id, default)))


def _parsed(body: bytes, header: int | None, most: int, outputs: Sequence[str]) -> oip.Infer:
    asked = oip.parse(body, header, most)
    oip.check_outputs(asked, outputs)
    return asked


def _in_tensors(
    body: dict[str, Any], found: responses.Reply, is_regression: bool, asked: oip.Infer
) -> tuple[bytes, int | None]:
    return oip.answer(body, responses.tensors(found, is_regression), asked)


def _made_ready(question: Question, loaded: Any) -> bytes:
    made = question.quick(loaded)
    return question.careful(loaded) if made is None else made


def _unseen(question: Question, answered: Answered, data: dict[str, bytes | None]) -> dict[str, int]:
    """Return the number of unseen categories by column in rows that a version answered."""
    slot, rows = answered.slot, question.values()
    numbers = data.get(slot.loaded.schema) if slot is not None else None
    if slot is None or rows is None or numbers is None:
        return {}
    return slot.loaded.encoder.unseen(rows, numbers)
