"""`ai-workflow up`, `down`, `status` and `stop`: the stack on this machine, and the local Prefect server."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

from ai_workflow.alerting import routing
from ai_workflow.cli.common_options import WritingOptions
from ai_workflow.cli.option_errors import MAX_PORT
from ai_workflow.errors import AiWorkflowError
from ai_workflow.local import login, server
from ai_workflow.local.ports import HOST
from ai_workflow.local.run_report import Hints
from ai_workflow.local.stack import launch, monitoring_config, served_versions, stack
from ai_workflow.local.stack.manager import Manager
from ai_workflow.local.stack.paths import StackOptions, StackPaths, StackState
from ai_workflow.local.stack.services import POSTGRESQL, SERVICE, SERVICES
from ai_workflow.telemetry.control_characters import escape

VAR = Path("var")
_DEFAULTS = WritingOptions()


def up(
    *,
    options: WritingOptions = _DEFAULTS,
    database: Literal["sqlite", "postgresql"] = "sqlite",
    offset: int = 0,
    take_over: bool = False,
) -> int:
    """Start Prefect, worker, service, exporter and relay, and Prometheus and Alertmanager if they are installed.

    Args:
        options: Pipeline, environment and store of services and runs; --store sets AIW_STORE for all of them.
        database: Database of Prefect: a SQLite file, or a PostgreSQL server of the stack.
        offset: Number added to every port.
        take_over: Replace the pipeline or environment that owns the Prefect server of this folder.
    """
    _require_ports(offset)
    if options.root is not None:
        os.environ["AIW_STORE"] = options.root
    paths = StackPaths(VAR)
    file = str(options.pipeline.resolve()) if options.pipeline else None
    stack_options = StackOptions(file, options.environment, database == "postgresql", offset)
    was_running = paths.running_state() is not None
    state = stack.up(paths, stack_options, os.environ, lambda line: print(line, flush=True), take_over=take_over)
    print("it runs already" if was_running else "")
    print("\n".join([*_addresses(state), *monitoring_config.missing(), "", *_login(paths, stack_options)]))
    print(f"      logs  {_short(paths.folder / 'logs')}")
    print("       end  make down")
    settings = launch.settings(stack_options)
    hints = Hints(file, options.environment, settings.store.root, options.root)
    print(f"     model  {escape(served_versions.line(settings, stack_options.port(SERVICE), hints))}")
    channels = [channel.name for channel in settings.chat]
    print("\n".join([f"     chats  {_chats(channels)}", *routing.problems(channels)]))
    return 0


def _require_ports(offset: int) -> None:
    """Raise if the offset gives a port that does not exist.

    Raises:
        AiWorkflowError: a port is outside 1 to 65535.
    """
    ports = [service.port + offset for service in (*SERVICES, POSTGRESQL) if service.port is not None]
    if min(ports) < 1 or max(ports) > MAX_PORT:
        raise AiWorkflowError(f"--offset {offset} gives ports outside 1 to {MAX_PORT}. Pass a smaller offset")


def down() -> int:
    """Stop the stack; data, history and logs are kept."""
    print("The stack has stopped" if stack.down(StackPaths(VAR)) else "No stack was running")
    return 0


def stop() -> int:
    """Stop the local Prefect server."""
    stopped = server.stop(VAR)
    print("Prefect server stopped" if stopped else "No Prefect server was running")
    if StackPaths(VAR).running_state():
        print("The stack runs with its own server. `make down` stops it")
    return 0


def status() -> int:
    """Show the services of the stack, or the local Prefect server.

    The exit code is 3 if nothing runs, or a service is not healthy.
    """
    paths = StackPaths(VAR)
    state = paths.read_state()
    if state is None:
        return _server()
    if not state.manager.is_alive():
        print("The process manager of the stack has died. `make up` starts the stack again, `make down` stops the rest")
        return 3
    lines = list(_services(paths, state))
    print("\n".join([*(line for line, _ in lines), *_login(paths, state.options)]))
    return 0 if all(is_healthy for _, is_healthy in lines) else 3


def _server() -> int:
    prefect_server = server.status(VAR)
    if prefect_server is None:
        print("Nothing runs. `make run` starts a Prefect server, `make up` the whole stack")
        return 3
    process = prefect_server.pid or "unknown: from PREFECT_API_URL"
    print(f"Prefect server: {prefect_server.ui_url}  (pid {process})")
    return 0


def _services(paths: StackPaths, state: StackState) -> list[tuple[str, bool]]:
    """Return a line for each service, and whether it is healthy."""
    statuses = Manager(paths).find()
    lines = []
    for service in state.options.services:
        status = statuses[service.name]
        is_running = status.state == "RUNNING"
        problem = (
            stack.problem(paths, state.options, service) if is_running else f"see {_short(paths.log_file(service))}"
        )
        since = f", pid {status.pid}, for {time.time() - status.since:.0f} s" if is_running else ""
        line = f"{service.title:>18}  {status.state}{since}" + (f": {problem}" if problem else "")
        lines.append((line, problem is None))
    return lines


def _chats(channels: list[str]) -> str:
    if channels:
        return f"{len(channels)}: {', '.join(channels)}"
    return "0: alerts are shown by Prometheus and Alertmanager only. Add a channel to chat (docs/chat.md)"


def _addresses(state: StackState) -> list[str]:
    return [
        f"{service.title:>18}  http://{HOST}:{state.options.port(service)}{service.page}"
        for service in state.options.services
        if service.health and service.page is not None
    ]


def _login(paths: StackPaths, options: StackOptions) -> list[str]:
    """Return the path of the password of Prometheus and Alertmanager, not the password itself."""
    if not any(service.requires_login for service in options.services):
        return []
    return [f"     login  of Prometheus and Alertmanager: {login.USER}, password in {_short(paths.password_file)}"]


def _short(path: Path) -> str:
    return os.path.relpath(path)
