"""`python -m ai_workflow.local.stack.launch NAME`: run one service of a stack, with only its own secrets."""

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
from ai_workflow.local.stack.paths import MARK, StackOptions, StackPaths
from ai_workflow.local.stack.services import POSTGRESQL, SECRETS, Service
from ai_workflow.secret_values import Secret, variable

# Services that take --pipeline; runs get the file as a parameter of their deployment.
_CONFIGURED = ("service", "exporter", "relay")


def command(service: Service, options: StackOptions, paths: StackPaths) -> list[str]:
    """Return the command of a service; its folder in the arguments is `.`, see `folder`.

    Raises:
        AiWorkflowError: its program is not installed.
    """
    if service == POSTGRESQL:
        return database.command(paths, options)
    values = {"host": HOST, "port": options.port(service) if service.port else "", "folder": "."}
    if outer := options.guard_of(service):
        values["outer_port"] = options.port(outer)
    if service.guards:
        values["inner_port"] = options.port(options.named(service.guards))
    if (program := service.program) is None:
        raise AiWorkflowError(f"{service.title} is no longer installed: {service.install}")
    arguments = [part.format(**values) for part in service.command[1:]]
    if service.name in _CONFIGURED:
        arguments += ["--pipeline", options.config] if options.config else []
    if service.name == "service":
        arguments += ["--port", str(options.port(service))] if options.offset else []
    return [program, *arguments]


def folder(service: Service, paths: StackPaths) -> Path | None:
    """Return the folder that a service runs in, None for the folder of the project.

    Prometheus reads the paths of its rules as patterns, so they are relative to its own folder.
    """
    return paths.data_folder(service) if any("{folder}" in part for part in service.command) else None


def environment(service: Service, options: StackOptions, paths: StackPaths, env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a service; `env` is the environment that the stack was started with."""
    variables = {
        name: value for name, value in server_environment.without_prefect_settings(env).items() if name not in SECRETS
    }
    # The programs `python` and `prefect` are those of the project.
    variables["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    variables |= {"AIW_ENVIRONMENT": options.environment} if options.environment else {}
    # `make up` has read `.env`; reading it again would give each service the secrets of the others.
    variables[dotenv.NAME] = ""
    variables |= {name: env[name] for name in service.secrets if env.get(name)}
    if service.name == "server":
        return _server_environment(variables, options, paths)
    return variables | client_environment(options, paths, settings(options), env) if service.uses_prefect else variables


def loaded(options: StackOptions) -> configuration.Loaded:
    """Return the configuration of the stack, with the origin of each key."""
    return configuration.load(options.config, environment=options.environment)


def settings(options: StackOptions) -> Settings:
    """Return the settings of the stack."""
    return loaded(options).settings


def client_environment(
    options: StackOptions, paths: StackPaths, settings: Settings, env: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables of clients of the Prefect server, with the login if `env` has one."""
    prefect_server = server.Server(options.api_url)
    urls = {
        "PREFECT_PROFILES_PATH": str(paths.var / "prefect" / "profiles.toml"),
        "PREFECT_UI_URL": prefect_server.ui_url,
    }
    login = {"PREFECT_API_AUTH_STRING": env["PREFECT_LOGIN"]} if env.get("PREFECT_LOGIN") else {}
    return {**prefect_settings.environment(prefect_server, settings, paths.var), **urls, **login, "DO_NOT_TRACK": "1"}


def _server_environment(variables: dict[str, str], options: StackOptions, paths: StackPaths) -> dict[str, str]:
    login = variables.pop("PREFECT_LOGIN", None)
    url = database.url(paths, options) if options.postgresql else None
    environment = server_environment.build(paths.var / "prefect", options.port(options.named("server")), variables, url)
    return environment | ({"PREFECT_SERVER_API_AUTH_STRING": login} if login else {})


def secrets_from_blocks(secrets: list[Secret | None], variables: Mapping[str, str]) -> dict[str, str]:
    """Return the values of secrets that have a Secret block, by name.

    Args:
        secrets: secrets of the configuration; literal ones are skipped.
        variables: the variables of a client of the Prefect server, see `client_environment`.
    """
    names = [secret.name for secret in secrets if secret and secret.name]
    if not names:
        return {}
    os.environ.update(variables)
    from ai_workflow.orchestration import secret_blocks

    values: dict[str, str] = {}
    for name in names:
        value, warning = secret_blocks.read(name)
        if warning:
            print(warning, file=sys.stderr)
        if value is not None:
            values[name] = value
    return values


def main(name: str) -> None:
    """Replace this process by the service."""
    paths = StackPaths(Path(os.environ[MARK]).parent)
    state = paths.read_state()
    if state is None:
        raise AiWorkflowError(f"{paths.folder} has no stack. Start one by make up")
    options = state.options
    service = options.named(name)
    variables = environment(service, options, paths, os.environ)
    if name == "service":
        # Other machines may reach it, so it gets its tokens only, and not the login that could read all blocks.
        configured = settings(options)
        tokens = [configured.service.token, configured.service.label_token, configured.service.admin_token]
        values = secrets_from_blocks(tokens, client_environment(options, paths, configured, os.environ))
        variables |= {variable(name): value for name, value in values.items()}
    arguments = command(service, options, paths)
    if service == POSTGRESQL:
        database.drop_root()
    if working_folder := folder(service, paths):
        os.chdir(working_folder)
    os.execve(arguments[0], arguments, variables)  # noqa: S606 - a table of commands, no shell


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except AiWorkflowError as error:
        sys.exit(f"error: {error}")
