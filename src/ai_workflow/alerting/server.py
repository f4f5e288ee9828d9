"""The relay as a process: opens the channels, listens, and on SIGTERM ends once what it has begun is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator

import uvicorn

from ai_workflow.alerting import events
from ai_workflow.alerting.app import RelayApp
from ai_workflow.alerting.channels.factory import FetchBlock, opened
from ai_workflow.alerting.delivery import Delivery
from ai_workflow.alerting.delivery_log import Ledger
from ai_workflow.alerting.outbox import Outbox
from ai_workflow.alerting.retries import Retries
from ai_workflow.config.settings.chat import Channel, Relay
from ai_workflow.errors import AiWorkflowError
from ai_workflow.http_server.origin_check import Origins
from ai_workflow.http_server.protocol import Http11Protocol
from ai_workflow.runtime import garbage_collection, process_limit
from ai_workflow.secret_values import Fetch
from ai_workflow.telemetry import logs
from ai_workflow.telemetry.logs import logger

_MOST_REQUESTS = 200
# Threads that read webhooks and call channels.
_THREADS = 8
log = logger("relay")


class Server:
    """The relay.

    Args:
        relay: where it listens, and its limits.
        channels: who is told.
        fetch: where secrets come from before the environment, if from anywhere.
        fetch_block: gives what a ChatChannel block holds.

    Raises:
        AiWorkflowError: a secret or block is missing, or an address is not one of its vendor.
    """

    def __init__(
        self,
        relay: Relay,
        channels: tuple[Channel, ...],
        fetch: Fetch | None = None,
        fetch_block: FetchBlock | None = None,
    ) -> None:
        self._relay = relay
        self._origins = Origins.of(os.environ)
        self._token = relay.token.reveal(fetch) if relay.token else None
        self._vendors = [(channel, opened(channel, fetch, fetch_block)) for channel in channels]
        if not channels:
            log.error("no channel is configured in chat: alerts reach only the pages of Prometheus and Alertmanager")

    def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C.

        Raises:
            AiWorkflowError: it cannot listen there, or there is no room for its threads.
        """
        process_limit.require_threads(_THREADS)
        _keep_addresses_to_ourselves()
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        ledger = Ledger(self._relay.remind_seconds)
        delivery = Delivery(self._relay, ledger, [Outbox(channel, vendor, ledger) for channel, vendor in self._vendors])
        emitter = events.Events() if events.is_possible() else None
        if emitter is None:
            log.info("no Prefect API is configured (PREFECT_API_URL): breaches do not become events")
        retries = Retries(delivery)
        app = RelayApp(self._relay, self._token, delivery, retries, emitter, self._origins)
        config = uvicorn.Config(
            app.app(), host=self._relay.host, port=self._relay.port,
            http=Http11Protocol, ws="none", lifespan="off", log_config=None,
            access_log=False, server_header=False, limit_concurrency=_MOST_REQUESTS,
            timeout_graceful_shutdown=round(self._relay.answer_seconds) + 1,
        )  # fmt: skip
        garbage_collection.tune_for_server()
        try:
            await _Server(config).serve()
        finally:
            await retries.close()
            await delivery.close()
            if emitter is not None:
                await emitter.close()
            log.info("ended")


class _Server(uvicorn.Server):
    """Uvicorn's server, but for signals, which it would end the process with before the channels are closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """On SIGTERM or Ctrl-C, take no more webhooks and answer those that are here; on the second one, end now."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where.

        Raises:
            AiWorkflowError: something else listens there.
        """
        try:
            await super().startup(sockets)
        except SystemExit:
            where = f"{self.config.host}:{self.config.port}"
            raise AiWorkflowError(
                f"cannot listen on {where} (relay.host, relay.port). Stop what listens there, or choose another port"
            ) from None
        for server in self.servers:
            for bound in server.sockets:
                log.info("listening on http://%s:%d", *bound.getsockname()[:2])


def _keep_addresses_to_ourselves() -> None:
    """Write no addresses of chats into logs: who knows them may write there."""
    for name in ("httpx", "httpcore", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logs.capture_all_output()
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    # What Apprise says is heard and told as ours.
    logging.getLogger("apprise").propagate = False
