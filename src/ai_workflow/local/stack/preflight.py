"""Checks before a stack is started, and of `make up` while it runs."""

from __future__ import annotations

from collections.abc import Mapping

from ai_workflow.config import startup, variables
from ai_workflow.config.loader import Loaded
from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.local import login, server_environment
from ai_workflow.local.ports import HOST
from ai_workflow.local.stack import launch, monitoring_config
from ai_workflow.local.stack.paths import StackOptions, StackPaths, StackState

_OPTIONS = {"config": "CONFIG", "environment": "ENVIRONMENT", "postgresql": "DB", "offset": "OFFSET"}
_MAX_NAMES = 20
_PARTS: tuple[variables.Part, ...] = ("service", "exporter", "relay", "run")


class StackError(AiWorkflowError):
    """The stack cannot be started or stopped."""


def check(paths: StackPaths, options: StackOptions, env: Mapping[str, str]) -> Loaded:
    """Return the configuration of a stack after all checks.

    Raises:
        AiWorkflowError: the stack cannot be started, or one of its parts would refuse to start.
    """
    if env.get("PREFECT_API_URL"):
        raise StackError(
            "PREFECT_API_URL is set, but make up starts its own Prefect server. Unset it, or run make deploy to set up "
            "that server"
        )
    server_environment.check_folder(paths.var)
    loaded = launch.loaded(options)
    # The stack itself reads the login and the key, and passes them to services under other names.
    monitoring_config.check_password(options, env.get(login.VARIABLE))
    checked = {name: value for name, value in env.items() if name not in ("PREFECT_LOGIN", "PREFECT_ENCRYPTION_KEY")}
    without_effect = (problem for part in _PARTS for problem in variables.unused(loaded, checked, part))
    startup.check(loaded, env, without_effect)
    _check_addresses(loaded.settings, options)
    return loaded


def require_unchanged(state: StackState, options: StackOptions, env: Mapping[str, str]) -> None:
    """Raise if a running stack was started with other options, variables or settings.

    Raises:
        StackError: with the names of the changed options, variables and settings; no values.
    """
    names = [_OPTIONS[name] for name in _OPTIONS if getattr(state.options, name) != getattr(options, name)]
    if not names and state.fingerprint:
        names = state.fingerprint.changed(launch.loaded(options), env)
    if names:
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        raise StackError(
            f"it runs already, with other values of {', '.join(names[:_MAX_NAMES])}{more}. Nothing was changed. "
            "Run make down, then make up"
        )


def _check_addresses(settings: Settings, options: StackOptions) -> None:
    for name, section in (("service", settings.service), ("relay", settings.relay)):
        port = options.named(name).port
        if section.host not in (HOST, "localhost"):
            raise StackError(
                f"{name}.host is {section.host}: this stack listens on {HOST} only. Put a proxy in front of it"
            )
        if section.port != port:
            raise StackError(
                f"{name}.port is {section.port}: this stack starts it at {port}, plus OFFSET. Remove {name}.port, "
                "or add OFFSET=100 to every port"
            )
