"""The checks before a stack is started, and those of a second `make up` while it runs."""

from __future__ import annotations

from collections.abc import Mapping

from ai_workflow.config import startup, variables
from ai_workflow.config.loader import Loaded
from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.local import login, server_environment
from ai_workflow.local.ports import HOST
from ai_workflow.local.stack import launch, watching
from ai_workflow.local.stack.paths import Options, Place, State

_OPTIONS = {"config": "CONFIG", "environment": "ENVIRONMENT", "postgresql": "DB", "offset": "OFFSET"}
_MAX_NAMES = 20
_PARTS: tuple[variables.Part, ...] = ("service", "exporter", "relay", "run")


class StackError(AiWorkflowError):
    """The stack cannot be started, or not ended."""


def check(place: Place, options: Options, given: Mapping[str, str]) -> Loaded:
    """Return the configuration of a stack that can be started.

    Raises:
        AiWorkflowError: why a part would refuse to start.
    """
    if given.get("PREFECT_API_URL"):
        raise StackError("PREFECT_API_URL is set, and this starts a Prefect server of its own. Unset it; make deploy "
                         "makes that server what prefect.yaml says")  # fmt: skip
    server_environment.check_folder(place.var)
    loaded = launch.loaded(options)
    # The login and the key are read by the stack itself, which gives them to its services under other names.
    watching.check_password(options, given.get(login.VARIABLE))
    ours = {name: value for name, value in given.items() if name not in ("PREFECT_LOGIN", "PREFECT_ENCRYPTION_KEY")}
    without_effect = (problem for part in _PARTS for problem in variables.unused(loaded, ours, part))
    startup.check(loaded, given, without_effect)
    _addresses_are_the_stacks(loaded.settings, options)
    return loaded


def require_unchanged(state: State, options: Options, given: Mapping[str, str]) -> None:
    """Raise if a stack that runs was started with other options, variables or settings.

    Raises:
        StackError: the names of what changed, and the remedy; no value.
    """
    names = [_OPTIONS[name] for name in _OPTIONS if getattr(state.options, name) != getattr(options, name)]
    if not names and state.fingerprint:
        names = state.fingerprint.changed(launch.loaded(options), given)
    if names:
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        raise StackError(
            f"it runs already, with other values of {', '.join(names[:_MAX_NAMES])}{more}. Nothing was changed. "
            "Run make down, then make up"
        )


def _addresses_are_the_stacks(settings: Settings, options: Options) -> None:
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
