"""Server process of the relay; on SIGTERM it finishes open requests and then stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import uvicorn

from ai_workflow.alerting import events
from ai_workflow.alerting.app import RelayApp
from ai_workflow.alerting.channels.factory import FetchBlock, create_backend
from ai_workflow.alerting.delivery import Delivery
from ai_workflow.alerting.delivery_log import DeliveryLog
from ai_workflow.alerting.outbox import Outbox
from ai_workflow.alerting.retries import RetryQueue
from ai_workflow.config.settings.chat import Channel, Relay
from ai_workflow.errors import AiWorkflowError
from ai_workflow.http_server.origin_check import Origins
from ai_workflow.http_server.protocol import Http11Protocol
from ai_workflow.runtime import garbage_collection, process_limit
from ai_workflow.secret_values import Fetch
from ai_workflow.telemetry import logs
from ai_workflow.telemetry.logs import logger

_MAX_REQUESTS = 200
# Threads that read webhooks and call channels.
_THREADS = 8
log = logger("relay")


class Server:
    """Server of the relay.

    Args:
        relay: address and limits.
        channels: chat channels.
        fetch: returns a secret before the environment is read, or None.
        fetch_block: returns the fields of a ChatChannel block.
        labels: labels of the events of SLO breaches.

    Raises:
        AiWorkflowError: a secret or block is missing, or a URL does not belong to its vendor.
    """

    def __init__(
        self,
        relay: Relay,
        channels: tuple[Channel, ...],
        fetch: Fetch | None = None,
        fetch_block: FetchBlock | None = None,
        labels: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._labels = labels
        self._relay = relay
        self._origins = Origins.of(os.environ)
        self._token = relay.token.reveal(fetch) if relay.token else None
        self._backends = [(channel, create_backend(channel, fetch, fetch_block)) for channel in channels]
        if not channels:
            log.error("no channel is configured in chat: alerts are only shown by Prometheus and Alertmanager")

    def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C.

        Raises:
            AiWorkflowError: the address is in use, or the process limit leaves no threads.
        """
        process_limit.require_threads(_THREADS)
        _hide_urls_in_logs()
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        delivery_log = DeliveryLog(self._relay.remind_seconds)
        delivery = Delivery(
            self._relay, delivery_log, [Outbox(channel, backend, delivery_log) for channel, backend in self._backends]
        )
        emitter = events.EventEmitter(labels=self._labels) if events.is_api_configured() else None
        if emitter is None:
            log.info("no Prefect API is configured (PREFECT_API_URL), so SLO breaches are not emitted as events")
        retries = RetryQueue(delivery)
        app = RelayApp(self._relay, self._token, delivery, retries, emitter, self._origins)
        config = uvicorn.Config(
            app.app(), host=self._relay.host, port=self._relay.port,
            http=Http11Protocol, ws="none", lifespan="off", log_config=None,
            access_log=False, server_header=False, limit_concurrency=_MAX_REQUESTS,
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
            log.info("stopped")


class _Server(uvicorn.Server):
    """Uvicorn server with a graceful shutdown.

    Uvicorn would exit on a signal before the channels are closed.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Finish open requests after SIGTERM or Ctrl-C; exit at once after a second signal."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and log the address.

        Raises:
            AiWorkflowError: the address is in use.
        """
        try:
            await super().startup(sockets)
        except SystemExit:
            address = f"{self.config.host}:{self.config.port}"
            raise AiWorkflowError(
                f"cannot listen on {address} (relay.host, relay.port). Stop the other process, or choose another port"
            ) from None
        for server in self.servers:
            for listener in server.sockets:
                log.info("listening on http://%s:%d", *listener.getsockname()[:2])


def _hide_urls_in_logs() -> None:
    """Keep webhook URLs out of the logs, because a webhook URL is a credential."""
    for name in ("httpx", "httpcore", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logs.capture_all_output()
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    # The Apprise channel reads these records and includes them in its own errors.
    logging.getLogger("apprise").propagate = False
