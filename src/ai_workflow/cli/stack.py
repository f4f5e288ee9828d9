"""`ai-workflow up`, `down`, `status` and `stop`: the stack of this machine, and the local Prefect server."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

from ai_workflow.alerting import routing
from ai_workflow.local import login, server
from ai_workflow.local.ports import HOST
from ai_workflow.local.run_report import Hints
from ai_workflow.local.stack import launch, served, stack, watching
from ai_workflow.local.stack.manager import Manager
from ai_workflow.local.stack.paths import Options, Place, State
from ai_workflow.local.stack.services import SERVICE
from ai_workflow.telemetry.control_characters import escape

VAR = Path("var")


def up(
    *,
    pipeline: Path | None = None,
    environment: str | None = None,
    database: Literal["sqlite", "postgresql"] = "sqlite",
    offset: int = 0,
    take_over: bool = False,
) -> int:
    """Start Prefect, worker, service, exporter, relay, and Prometheus and Alertmanager where they are installed.

    Args:
        pipeline: the pipeline that is served and trained; the one of config/base.yaml if not given.
        environment: development or production.
        database: where Prefect keeps what it knows: in a file, or in a PostgreSQL of the stack's own.
        offset: what is added to every port.
        take_over: replace the pipeline or environment that the Prefect server of this folder belongs to.
    """
    place = Place(VAR)
    file = str(pipeline.resolve()) if pipeline else None
    options = Options(file, environment, database == "postgresql", offset)
    ran = place.running() is not None
    state = stack.up(place, options, os.environ, lambda line: print(line, flush=True), take_over=take_over)
    print("it runs already" if ran else "")
    print("\n".join([*_addresses(state), *watching.missing(), "", *_login(place, options)]))
    print(f"      logs  {_short(place.folder / 'logs')}")
    print("       end  make down")
    settings = launch.settings(options)
    hints = Hints(file, environment, settings.store.root)
    print(f"     model  {escape(served.line(settings, options.port(SERVICE), hints))}")
    channels = [channel.name for channel in settings.chat]
    print("\n".join([f"     chats  {_chats(channels)}", *routing.problems(channels)]))
    return 0


def down() -> int:
    """End all of it; data, history and logs stay."""
    print("All of the stack has ended" if stack.down(Place(VAR)) else "Nothing of the stack ran")
    return 0


def stop() -> int:
    """Stop the local Prefect server."""
    stopped = server.stop(VAR)
    print("Prefect server stopped" if stopped else "No Prefect server was running")
    if Place(VAR).running():
        print("The stack runs, with a server of its own. `make down` ends it")
    return 0


def status() -> int:
    """Show each service of the stack, or the local Prefect server; exit code 3 if one is not well, or nothing runs."""
    place = Place(VAR)
    state = place.read()
    if state is None:
        return _server()
    if not state.manager.lives():
        print("The stack's process manager is gone. `make up` starts all anew, `make down` ends what is left")
        return 3
    lines = list(_services(place, state))
    print("\n".join([*(line for line, _ in lines), *_login(place, state.options)]))
    return 0 if all(is_well for _, is_well in lines) else 3


def _server() -> int:
    found = server.status(VAR)
    if found is None:
        print("Nothing runs. `make run` starts a Prefect server, `make up` the whole stack")
        return 3
    print(f"Prefect server: {found.ui_url}  (pid {found.pid if found.pid else 'unknown: from PREFECT_API_URL'})")
    return 0


def _services(place: Place, state: State) -> list[tuple[str, bool]]:
    found = Manager(place).find()
    lines = []
    for service in state.options.services:
        one = found[service.name]
        runs = one.state == "RUNNING"
        problem = stack.problem(place, state.options, service) if runs else f"see {_short(place.log(service))}"
        since = f", pid {one.pid}, for {time.time() - one.since:.0f} s" if runs else ""
        said = f"{service.title:>18}  {one.state}{since}" + (f": {problem}" if problem else "")
        lines.append((said, problem is None))
    return lines


def _chats(channels: list[str]) -> str:
    if channels:
        return f"{len(channels)}: {', '.join(channels)}"
    return "0: alerts reach only the pages of Prometheus and Alertmanager. Add a channel to chat (docs/chat.md)"


def _addresses(state: State) -> list[str]:
    return [
        f"{service.title:>18}  http://{HOST}:{state.options.port(service)}{service.page}"
        for service in state.options.services
        if service.health and service.page is not None
    ]


def _login(place: Place, options: Options) -> list[str]:
    """Return where the login of Prometheus and Alertmanager is; never the password itself."""
    if not any(service.requires_login for service in options.services):
        return []
    return [f"     login  of Prometheus and Alertmanager: {login.USER}, password in {_short(place.password_file)}"]


def _short(path: Path) -> str:
    return os.path.relpath(path)
