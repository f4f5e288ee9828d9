"""Starts and ends a stack: all of it or nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ai_workflow.config import project
from ai_workflow.config.loader import Loaded
from ai_workflow.config.settings import Settings
from ai_workflow.local import encryption, health, login, ports, server, server_environment, sqlite_repair
from ai_workflow.local.ports import HOST
from ai_workflow.local.stack import database, fingerprint, launch, manager, preflight, processes, watching
from ai_workflow.local.stack.manager import Manager, ManagerError
from ai_workflow.local.stack.paths import MARK, Options, Place, State
from ai_workflow.local.stack.preflight import StackError
from ai_workflow.local.stack.services import POSTGRESQL, Service
from ai_workflow.runtime.stall_timeout import StallTimeout, group_cpu_ticks
from ai_workflow.slo.outputs.scrape_config import INNER_USER

MANAGER_SECONDS, UP_SECONDS = 30.0, 120.0
LOG_LINES = 15
_BAD = ("BACKOFF", "FATAL", "EXITED", "STOPPED", "UNKNOWN")

Say = Callable[[str], None]


def up(place: Place, options: Options, given: Mapping[str, str], say: Say, *, take_over: bool = False) -> State:
    """Start the stack, or return the one that runs; if one of its services does not come up, all are ended again.

    Args:
        place: its folder.
        options: what is started.
        given: the environment, with the secrets that its services are given.
        say: takes what is done, a line at a time.
        take_over: replace another owner of the Prefect server, see `ai_workflow.provisioning.ownership`.

    Raises:
        AiWorkflowError: the configuration is wrong, a port is taken, a service does not come up, or a stack that runs
            was started with other options, variables or settings.
    """
    with place.locked():
        if found := place.running():
            preflight.require_unchanged(found, options, given)
            return found
        loaded = preflight.check(place, options, given)
        if not options.postgresql:
            encryption.check(server_environment.database_of(place.var / "prefect"), encryption.key_of(given))
        if count := processes.end(place.folder):
            say(f"ended {count} processes of a stack whose process manager is gone")
        place.forget()
        before = server.own(place.var)
        _ports_are_free(options, before)
        if before and server.stop(place.var):
            say("ended the Prefect server of make run; its history goes on here")
        _prepare(place, options)
        try:
            return _start(place, options, loaded, given, say, take_over)
        except BaseException:
            say("ending what was started")
            _end(place)
            raise


def down(place: Place) -> bool:
    """End all of it, what its process manager left behind if that was killed as well; False if nothing ran."""
    if not place.folder.is_dir():
        return False
    with place.locked():
        return _end(place)


def _ports_are_free(options: Options, ended: server.Server | None) -> None:
    """Refuse a port that somebody listens on; the Prefect server of `make run` is `ended` before it is needed."""
    own = ended.api_url if ended else None
    taken = [
        service
        for service in options.services
        if service.port and not ports.is_free(options.port(service))
        if not (service.name == "server" and options.api_url == own)
    ]
    if taken:
        named = ", ".join(f"{options.port(service)} ({service.title})" for service in taken)
        raise StackError(
            f"taken already: port {named}. Nothing was started. End what listens there (ss -ltnp shows it), "
            "or add to every port: OFFSET=100"
        )


def _prepare(place: Place, options: Options) -> None:
    (place.folder / "logs").mkdir(exist_ok=True)
    home = place.var / "prefect"
    home.mkdir(exist_ok=True)
    if options.postgresql:
        database.prepare(place)
    else:
        sqlite_repair.set_damage_aside(home / "prefect.db")


def _start(
    place: Place, options: Options, loaded: Loaded, given: Mapping[str, str], say: Say, take_over: bool
) -> State:
    settings = loaded.settings
    process = manager.start(place, options, server_environment.without_foreign(given))
    state = State(process, options, fingerprint.of(loaded, given))
    place.write(state)
    api = Manager(place)
    starting = StallTimeout(process.pid, MANAGER_SECONDS, cpu=group_cpu_ticks)
    _until(lambda: _answers(api), starting, "the process manager", place.folder / "supervisord.out", process.lives)
    first = [service for service in options.services if service.name in (POSTGRESQL.name, "server")]
    for service in first:
        if service.name == "server" and options.postgresql:
            encryption.check(database.url(place, options), encryption.key_of(given))
        _bring_up(place, options, api, [service], say)
    variables = launch.client(options, place, settings, given)
    _bootstrap(options, settings, {**given, **variables, MARK: str(place.folder)}, say, take_over)
    watching.write(place, options, _tokens(settings, variables), given.get(login.VARIABLE))
    _bring_up(place, options, api, [service for service in options.services if service not in first], say)
    return state


def _bring_up(place: Place, options: Options, api: Manager, services: Sequence[Service], say: Say) -> None:
    for service in services:
        api.start(service)
    for service in services:
        _wait_for(place, options, api, service)
        say(f"{service.title} is up")


def _wait_for(place: Place, options: Options, api: Manager, service: Service) -> None:
    def ticks(_: int) -> int:
        return group_cpu_ticks(api.find()[service.name].pid)

    starting = StallTimeout(0, UP_SECONDS, cpu=ticks)
    is_up, is_well = (lambda: _is_up(place, options, api, service)), (lambda: _is_well(api, service))
    _until(is_up, starting, service.title, place.log(service), is_well)


def _is_up(place: Place, options: Options, api: Manager, service: Service) -> bool:
    if api.find()[service.name].state != "RUNNING":
        return False
    return problem(place, options, service) is None


def problem(place: Place, options: Options, service: Service) -> str | None:
    """Return why a service is not well, as it answers itself; None if it is, or cannot be asked."""
    if service == POSTGRESQL:
        return database.problem(place, options)
    if service.health is None:
        return None
    known = f"{INNER_USER}:{place.password()}" if service.requires_login else ""
    return health.problem(f"http://{HOST}:{options.port(service)}{service.health}", login=known)


def _is_well(api: Manager, service: Service) -> bool:
    return api.find()[service.name].state not in _BAD


def _answers(api: Manager) -> bool:
    try:
        return bool(api.find())
    except ManagerError:
        return False


def _until(
    is_there: Callable[[], bool], starting: StallTimeout, who: str, log: Path, may_come: Callable[[], bool]
) -> None:
    while not is_there():
        reason = starting.reason if may_come() else "it ended as soon as it was started"
        if reason:
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            raise StackError("\n".join([f"{who} did not come up: {reason}. The end of {log}:", *lines[-LOG_LINES:]]))
        time.sleep(0.2)


def _bootstrap(options: Options, settings: Settings, environment: Mapping[str, str], say: Say, take_over: bool) -> None:
    relay = f"http://{HOST}:{options.port(options.named('relay'))}/prefect"
    command = [
        sys.executable,
        "-m",
        "ai_workflow",
        "deploy",
        "--relay-url",
        settings.deploy.relay_url or relay,
    ]
    command += ["--take-over"] if take_over else []
    command += ["--pipeline", options.config] if options.config else []
    command += ["--environment", options.environment] if options.environment else []
    done = subprocess.run(command, cwd=project.root(), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(done.stderr.strip().removeprefix("error: ") or f"bootstrap ended with {done.returncode}")
    for line in done.stdout.splitlines():
        say(f"  {line}")


def _tokens(settings: Settings, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the bearer tokens that Prometheus and Alertmanager have to show, by the service that asks for them."""
    asked = {"service": settings.service.token, "relay": settings.relay.token}
    known = launch.from_blocks(list(asked.values()), variables)
    return {name: secret.reveal(known.get) for name, secret in asked.items() if secret}


def _end(place: Place) -> bool:
    found = place.read()
    there = processes.find(place.folder)
    if found and found.manager.lives():
        # It ends its services one after another, the last one first.
        patience = sum(service.stop_seconds for service in found.options.services)
        found.manager.end(patience)
    processes.end(place.folder)
    place.forget()
    return bool(there)
