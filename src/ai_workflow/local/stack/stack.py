"""Start and stop of a stack; if a service does not start, all are stopped."""

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
from ai_workflow.local.stack import database, fingerprint, launch, manager, monitoring_config, preflight, processes
from ai_workflow.local.stack.manager import Manager, ManagerError
from ai_workflow.local.stack.paths import MARK, StackOptions, StackPaths, StackState
from ai_workflow.local.stack.preflight import StackError
from ai_workflow.local.stack.services import POSTGRESQL, Service
from ai_workflow.runtime.stall_timeout import StallTimeout, group_cpu_ticks
from ai_workflow.slo.outputs.scrape_config import INNER_USER

MANAGER_SECONDS = 30.0
UP_SECONDS = 120.0
LOG_LINES = 15
_FAILED_STATES = ("BACKOFF", "FATAL", "EXITED", "STOPPED", "UNKNOWN")

Progress = Callable[[str], None]


def up(
    paths: StackPaths, options: StackOptions, env: Mapping[str, str], progress: Progress, *, take_over: bool = False
) -> StackState:
    """Start the stack, or return the running one; if a service does not start, all are stopped.

    Args:
        paths: the folder of the stack.
        options: the options of the start.
        env: the environment, with the secrets of the services.
        progress: called with each line of progress.
        take_over: replace another owner of the Prefect server, see `ai_workflow.provisioning.ownership`.

    Raises:
        AiWorkflowError: the configuration is invalid, a port is taken, a service does not start, or a running stack
            has other options, variables or settings.
    """
    with paths.locked():
        if state := paths.running_state():
            preflight.require_unchanged(state, options, env)
            return state
        loaded = preflight.check(paths, options, env)
        if not options.postgresql:
            encryption.check(server_environment.database_url(paths.var / "prefect"), encryption.configured_key(env))
        if count := processes.stop_all(paths.folder):
            progress(f"stopped {count} processes of a stack whose process manager is gone")
        paths.remove_runtime_files()
        local_server = server.local_server(paths.var)
        _check_ports(options, local_server)
        if local_server and server.stop(paths.var):
            progress("stopped the Prefect server of make run; the stack continues its history")
        _prepare(paths, options)
        try:
            return _start(paths, options, loaded, env, progress, take_over)
        except BaseException:
            progress("stopping the services")
            _stop(paths)
            raise


def down(paths: StackPaths) -> bool:
    """Stop the stack and remaining processes of a killed process manager; return False if nothing ran."""
    if not paths.folder.is_dir():
        return False
    with paths.locked():
        return _stop(paths)


def _check_ports(options: StackOptions, local_server: server.Server | None) -> None:
    """Raise if a port is taken; the Prefect server of `make run` is stopped before its port is needed."""
    local_url = local_server.api_url if local_server else None
    occupied = [
        service
        for service in options.services
        if service.port and not ports.is_free(options.port(service))
        if not (service.name == "server" and options.api_url == local_url)
    ]
    if occupied:
        ports_taken = ", ".join(f"{options.port(service)} ({service.title})" for service in occupied)
        raise StackError(
            f"taken already: port {ports_taken}. Nothing was started. Stop what listens there (ss -ltnp shows it), "
            "or add to every port: OFFSET=100"
        )


def _prepare(paths: StackPaths, options: StackOptions) -> None:
    (paths.folder / "logs").mkdir(exist_ok=True)
    home = paths.var / "prefect"
    home.mkdir(exist_ok=True)
    if options.postgresql:
        database.prepare(paths)
    else:
        sqlite_repair.set_aside_if_corrupt(home / "prefect.db")


def _start(
    paths: StackPaths,
    options: StackOptions,
    loaded: Loaded,
    env: Mapping[str, str],
    progress: Progress,
    take_over: bool,
) -> StackState:
    settings = loaded.settings
    process = manager.start(paths, options, server_environment.without_prefect_settings(env))
    state = StackState(process, options, fingerprint.of(loaded, env))
    paths.write_state(state)
    api = Manager(paths)
    starting = StallTimeout(process.pid, MANAGER_SECONDS, cpu=group_cpu_ticks)
    _wait_until(
        lambda: _answers(api), starting, "the process manager", paths.folder / "supervisord.out", process.is_alive
    )
    first = [service for service in options.services if service.name in (POSTGRESQL.name, "server")]
    for service in first:
        if service.name == "server" and options.postgresql:
            encryption.check(database.url(paths, options), encryption.configured_key(env))
        _bring_up(paths, options, api, [service], progress)
    variables = launch.client_environment(options, paths, settings, env)
    _bootstrap(options, settings, {**env, **variables, MARK: str(paths.folder)}, progress, take_over)
    monitoring_config.write(paths, options, _tokens(settings, variables), env.get(login.VARIABLE))
    _bring_up(paths, options, api, [service for service in options.services if service not in first], progress)
    return state


def _bring_up(
    paths: StackPaths, options: StackOptions, api: Manager, services: Sequence[Service], progress: Progress
) -> None:
    for service in services:
        api.start(service)
    for service in services:
        _wait_for(paths, options, api, service)
        progress(f"{service.title} is up")


def _wait_for(paths: StackPaths, options: StackOptions, api: Manager, service: Service) -> None:
    def ticks(_: int) -> int:
        return group_cpu_ticks(api.find()[service.name].pid)

    starting = StallTimeout(0, UP_SECONDS, cpu=ticks)
    _wait_until(
        lambda: _is_up(paths, options, api, service),
        starting,
        service.title,
        paths.log_file(service),
        lambda: _may_start(api, service),
    )


def _is_up(paths: StackPaths, options: StackOptions, api: Manager, service: Service) -> bool:
    if api.find()[service.name].state != "RUNNING":
        return False
    return problem(paths, options, service) is None


def problem(paths: StackPaths, options: StackOptions, service: Service) -> str | None:
    """Return why a service is not healthy; None if it is, or has no health check."""
    if service == POSTGRESQL:
        return database.problem(paths, options)
    if service.health is None:
        return None
    credentials = f"{INNER_USER}:{paths.password()}" if service.requires_login else ""
    return health.problem(f"http://{HOST}:{options.port(service)}{service.health}", login=credentials)


def _may_start(api: Manager, service: Service) -> bool:
    return api.find()[service.name].state not in _FAILED_STATES


def _answers(api: Manager) -> bool:
    try:
        return bool(api.find())
    except ManagerError:
        return False


def _wait_until(
    is_up: Callable[[], bool], starting: StallTimeout, title: str, log: Path, may_start: Callable[[], bool]
) -> None:
    while not is_up():
        reason = starting.reason if may_start() else "it ended as soon as it was started"
        if reason:
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            raise StackError("\n".join([f"{title} did not start: {reason}. The end of {log}:", *lines[-LOG_LINES:]]))
        time.sleep(0.2)


def _bootstrap(
    options: StackOptions, settings: Settings, environment: Mapping[str, str], progress: Progress, take_over: bool
) -> None:
    relay_url = settings.deploy.relay_url or f"http://{HOST}:{options.port(options.named('relay'))}/prefect"
    command = [sys.executable, "-m", "ai_workflow", "deploy", "--exclusive", "--relay-url", relay_url]
    command += ["--take-over"] if take_over else []
    command += ["--pipeline", options.config] if options.config else []
    command += ["--environment", options.environment] if options.environment else []
    process = subprocess.run(command, cwd=project.root(), env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        error = process.stderr.strip().removeprefix("error: ")
        raise StackError(error or f"bootstrap ended with {process.returncode}")
    for line in process.stdout.splitlines():
        progress(f"  {line}")


def _tokens(settings: Settings, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the bearer tokens that Prometheus and Alertmanager send, by service."""
    tokens = {"service": settings.service.token, "relay": settings.relay.token}
    values = launch.secrets_from_blocks(list(tokens.values()), variables)
    return {name: token.reveal(values.get) for name, token in tokens.items() if token}


def _stop(paths: StackPaths) -> bool:
    state = paths.read_state()
    running = processes.find(paths.folder)
    if state and state.manager.is_alive():
        # The manager stops its services one after another, in reverse start order.
        state.manager.end(sum(service.stop_seconds for service in state.options.services))
    processes.stop_all(paths.folder)
    paths.remove_runtime_files()
    return bool(running)
