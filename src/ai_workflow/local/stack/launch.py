"""`python -m ai_workflow.local.stack.launch NAME`: one service of a stack, with only its own secrets."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from ai_workflow.config import dotenv
from ai_workflow.config import loader as configuration
from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.local import prefect_settings, server, server_environment
from ai_workflow.local.ports import HOST
from ai_workflow.local.stack import database
from ai_workflow.local.stack.paths import MARK, Options, Place
from ai_workflow.local.stack.services import POSTGRESQL, SECRETS, Service
from ai_workflow.prefect_errors import explain
from ai_workflow.secret_values import Secret, variable

# Services that read the configuration themselves; runs get the file as a parameter of their deployment.
_CONFIGURED = ("service", "exporter", "relay")


def command(service: Service, options: Options, place: Place) -> list[str]:
    """Return program and arguments of a service, whose folder in them is `.`, see `folder`.

    Raises:
        AiWorkflowError: its program is not installed.
    """
    if service == POSTGRESQL:
        return database.command(place, options)
    filled = {"host": HOST, "port": options.port(service) if service.port else "", "folder": "."}
    if outer := options.guard_of(service):
        filled["outer_port"] = options.port(outer)
    if service.guards:
        filled["inner_port"] = options.port(options.named(service.guards))
    if (program := service.program) is None:
        raise AiWorkflowError(f"{service.title} is not installed any more: {service.install}")
    arguments = [part.format(**filled) for part in service.command[1:]]
    if service.name in _CONFIGURED:
        arguments += ["--pipeline", options.config] if options.config else []
    if service.name == "service":
        arguments += ["--port", str(options.port(service))] if options.offset else []
    return [program, *arguments]


def folder(service: Service, place: Place) -> Path | None:
    """Return the folder that a service runs in; None: the folder of the project.

    Prometheus reads the paths of its rules as patterns, so they are relative, and are read from its own folder.
    """
    return place.of(service) if any("{folder}" in part for part in service.command) else None


def environment(service: Service, options: Options, place: Place, given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a service; `given` is the one that the stack was started with."""
    found = {name: value for name, value in server_environment.without_foreign(given).items() if name not in SECRETS}
    # `python` and `prefect` are those of the project.
    found["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), given.get("PATH", os.defpath)])
    found |= {"AIW_ENVIRONMENT": options.environment} if options.environment else {}
    # `make up` has read `.env`; a service that read it again would get the secrets of the others.
    found[dotenv.NAME] = ""
    found |= {name: given[name] for name in service.secrets if given.get(name)}
    if service.name == "server":
        return _of_server(found, options, place)
    return found | client(options, place, settings(options), given) if service.asks_prefect else found


def loaded(options: Options) -> configuration.Loaded:
    """Return the configuration that the stack runs with, and the origin of each key."""
    return configuration.load(options.config, environment=options.environment)


def settings(options: Options) -> Settings:
    """Return the configuration that the stack runs with."""
    return loaded(options).settings


def client(options: Options, place: Place, found: Settings, given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of those who ask the Prefect server, with the login if `given` has one."""
    reached = server.Server(options.api_url)
    named = {"PREFECT_PROFILES_PATH": str(place.var / "prefect" / "profiles.toml"), "PREFECT_UI_URL": reached.ui_url}
    login = {"PREFECT_API_AUTH_STRING": given["PREFECT_LOGIN"]} if given.get("PREFECT_LOGIN") else {}
    return {**prefect_settings.environment(reached, found, place.var), **named, **login, "DO_NOT_TRACK": "1"}


def _of_server(found: dict[str, str], options: Options, place: Place) -> dict[str, str]:
    login = found.pop("PREFECT_LOGIN", None)
    url = database.url(place, options) if options.postgresql else None
    found = server_environment.of(place.var / "prefect", options.port(options.named("server")), found, url)
    return found | ({"PREFECT_SERVER_API_AUTH_STRING": login} if login else {})


def from_blocks(secrets: list[Secret | None], variables: Mapping[str, str]) -> dict[str, str]:
    """Return those of the named secrets that a Secret block holds, by their names.

    Args:
        secrets: of the configuration.
        variables: how Prefect is asked, see `client`.
    """
    named = [secret.name for secret in secrets if secret and secret.name]
    if not named:
        return {}
    os.environ.update(variables)
    found = {name: _held(name) for name in named}
    return {name: value for name, value in found.items() if value is not None}


def _held(name: str) -> str | None:
    """Return what a Secret block holds; one that cannot be read is said, and leaves its name to the environment."""
    from ai_workflow.orchestration.pipeline_run import secret_block

    try:
        return secret_block(name)
    except Exception as error:  # whatever keeps Prefect from answering
        print(
            f"Secret block '{name}' cannot be read, its environment variable is used instead: {explain(error)}",
            file=sys.stderr,
        )
        return None


def main(name: str) -> None:
    """Become the service; nothing of this process is left but its pid."""
    place = Place(Path(os.environ[MARK]).parent)
    state = place.read()
    if state is None:
        raise AiWorkflowError(f"{place.folder} holds no stack: make up")
    options = state.options
    service = options.named(name)
    ready = environment(service, options, place, os.environ)
    if name == "service":
        # It is what others reach: it gets its tokens, and not the login that could read all the rest.
        found = settings(options)
        tokens = [found.service.token, found.service.label_token, found.service.admin_token]
        held = from_blocks(tokens, client(options, place, found, os.environ))
        ready |= {variable(name): value for name, value in held.items()}
    program = command(service, options, place)
    if service == POSTGRESQL:
        database.become_its_account()
    if own := folder(service, place):
        os.chdir(own)
    os.execve(program[0], program, ready)  # noqa: S606 - a table of commands, no shell


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except AiWorkflowError as error:
        sys.exit(f"error: {error}")
