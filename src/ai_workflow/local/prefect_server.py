"""`python -m ai_workflow.local.prefect_server`: a Prefect server that rejects requests of other sites.

Prefect checks neither Host nor the Origin of WebSockets, and allows every origin by default.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from cyclopts import App

from ai_workflow.http_server.origin_check import OriginGuard, Origins
from ai_workflow.local import encryption, server_environment
from ai_workflow.runtime import command_line

app = App(name="python -m ai_workflow.local.prefect_server", help=__doc__, version_flags=[])


@app.default
def serve(*, host: str = "127.0.0.1", port: int = 4200) -> None:
    """Serve Prefect's API and UI until SIGTERM or Ctrl-C.

    Args:
        host: Address to listen on.
        port: Port to listen on.

    Raises:
        AiWorkflowError: `AIW_ALLOWED_ORIGINS` is invalid, or the key does not decrypt the blocks of the database.
    """
    for name, value in server_environment.guard_settings(port).items():
        os.environ.setdefault(name, value)
    if key := encryption.configured_key(os.environ):
        os.environ["PREFECT_SERVER_ENCRYPTION_KEY"] = key
    application = guarded(os.environ)
    import uvicorn
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, get_current_settings

    from ai_workflow.http_server.lingering_protocol import LingeringProtocol

    encryption.check(PREFECT_API_DATABASE_CONNECTION_URL.value(), key)
    settings = get_current_settings().server
    uvicorn.run(
        application, host=host, port=port, http=LingeringProtocol, timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval, ws_ping_timeout=settings.api.websocket_ping_timeout,
        log_level=settings.logging_level.lower(),
    )  # fmt: skip


def guarded(variables: Mapping[str, str]) -> Any:
    """Return Prefect's application behind the guard.

    The guard wraps the application, because automations call the application itself with another host name.

    Raises:
        OriginError: an entry of `AIW_ALLOWED_ORIGINS` is not an origin.
    """
    origins = Origins.of(variables)
    from prefect.server.api.server import create_app

    return OriginGuard(create_app(final=True), origins, forbid_frames=True)


def main() -> int:
    """Run the command line; errors are printed as one message without a traceback."""
    return command_line.exit_code(lambda: app(result_action="return_value"))


if __name__ == "__main__":
    sys.exit(main())
