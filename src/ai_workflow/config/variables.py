"""Environment variables by part, and a check that variables that are set have an effect."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ai_workflow.config.layers import OVERRIDE
from ai_workflow.config.reader import scalar
from ai_workflow.errors import AiWorkflowError
from ai_workflow.secret_values import Secret, variable
from ai_workflow.telemetry import logs

if TYPE_CHECKING:
    from ai_workflow.config.loader import Loaded

Part = Literal["service", "relay", "exporter", "run", "bootstrap", "make run", "make score"]
PARTS: Mapping[Part, str] = {
    "service": "the inference service",
    "relay": "the alert relay",
    "exporter": "the exporter",
    "run": "runs of flows",
    "bootstrap": "ai-workflow deploy",
    "make run": "make run",
    "make score": "make score",
}
_ALL: tuple[Part, ...] = tuple(PARTS)
_RUNS: tuple[Part, ...] = ("run", "make run", "make score")


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable that fills in a key of the configuration.

    Args:
        name: the environment variable.
        key: the dotted key that it fills in; `chat` for the url, secret or block of a channel.
        parts: the parts that read the key.
        is_secret: whether the key holds `${secret:...}`, which the variable replaces, or `${NAME}`.
    """

    name: str
    key: str
    parts: tuple[Part, ...]
    is_secret: bool = False


@dataclass(frozen=True, slots=True)
class StackVariable:
    """A variable of `make up` and of the containers, which other parts read by the name `replacement`."""

    name: str
    replacement: str
    parts: tuple[Part, ...]


VARIABLES = (
    Variable("AIW_STORE", "store.root", _ALL),
    Variable("AIW_LOG_LEVEL", "logging.level", _ALL),
    Variable("AIW_LOG_FORMAT", "logging.format", _ALL),
    Variable("AIW_HOST", "service.host", ("service",)),
    Variable("AIW_PORT", "service.port", ("service",)),
    Variable("INFERENCE_TOKEN", "service.token", ("service",), is_secret=True),
    Variable("INFERENCE_LABEL_TOKEN", "service.label_token", ("service",), is_secret=True),
    Variable("INFERENCE_ADMIN_TOKEN", "service.admin_token", ("service",), is_secret=True),
    Variable("RELAY_TOKEN", "relay.token", ("relay",), is_secret=True),
    Variable("ON_CALL_URL", "chat", ("relay",), is_secret=True),
    Variable("ON_CALL_SECRET", "chat", ("relay",), is_secret=True),
    Variable("DATABASE_HOST", "database.host", _RUNS),
    Variable("DATABASE_PORT", "database.port", _RUNS),
    Variable("DATABASE_NAME", "database.name", _RUNS),
    Variable("DATABASE_USERNAME", "database.username", _RUNS),
    Variable("DATABASE_PASSWORD", "database.password", _RUNS, is_secret=True),
)
STACK_VARIABLES = (
    StackVariable(
        "PREFECT_LOGIN", "PREFECT_API_AUTH_STRING", ("make run", "make score", "bootstrap", "relay", "exporter")
    ),
)
# Variables of the code, of compose.yaml, of the stack of `make up` and of the tests.
_PREFIX = "AIW_"
_READ = frozenset((
    "AIW_ENVIRONMENT", "AIW_CONFIG", "AIW_ROOT", "AIW_ETC", "AIW_OS_RELEASE", "AIW_ENV_FILE", "AIW_CODE_PATH",
    "AIW_ALLOWED_ORIGINS", "AIW_STACK_SOCKET",
    "AIW_SITE", "AIW_IMAGE", "AIW_STACK", "AIW_KILLS", "AIW_SCREENSHOTS", "AIW_NO_SKIPS",
))  # fmt: skip


class UnusedVariableError(AiWorkflowError):
    """A variable is set and has no effect on a part."""


def check(loaded: Loaded, env: Mapping[str, str], *parts: Part) -> None:
    """Raise if a variable of one of the parts is set and the configuration does not use it.

    Raises:
        UnusedVariableError: with each variable, part, reason and remedy.
    """
    problems = [problem for part in parts for problem in unused(loaded, env, part)]
    if problems:
        raise UnusedVariableError("\n".join(dict.fromkeys(problems)))


def unused_by_all(loaded: Loaded, env: Mapping[str, str]) -> Iterator[str]:
    """Yield an error for each variable that has no effect on its parts.

    Variables of `make up` and of the containers (`STACK_VARIABLES`) are skipped, because the same
    environment is valid there.
    """
    for row in VARIABLES:
        if env.get(row.name) and not _has_effect(row, loaded, env[row.name]):
            yield _no_effect(row, loaded, row.parts)


def unused(loaded: Loaded, env: Mapping[str, str], part: Part) -> Iterator[str]:
    """Yield an error for each variable of a part that is set and has no effect on the part."""
    for row in VARIABLES:
        if part in row.parts and env.get(row.name) and not _has_effect(row, loaded, env[row.name]):
            yield _no_effect(row, loaded, (part,))
    for item in STACK_VARIABLES:
        value = env.get(item.name)
        if part in item.parts and value and env.get(item.replacement) != value:
            yield (
                f"{item.name} is set, but has no effect on {PARTS[part]}: only make up and the containers read it. "
                f"Set {item.replacement} instead, or unset {item.name}."
            )


def unknown(env: Mapping[str, str], named: Sequence[str]) -> Iterator[str]:
    """Yield an error for each unknown variable AIW_*; `named` are the variables in the layers."""
    known = sorted({row.name for row in VARIABLES if row.name.startswith(_PREFIX)} | _READ | set(named))
    for name in sorted(env):
        if name.startswith(_PREFIX) and name not in known:
            similar = difflib.get_close_matches(name, known, 1)
            hint = f"Did you mean {similar[0]}?" if similar else "Unset it, or write ${" + name + "} in a layer."
            yield f"{name} is set, but no layer of the configuration names it. {hint}"


def _no_effect(row: Variable, loaded: Loaded, parts: Sequence[Part]) -> str:
    named = ", ".join(PARTS[part] for part in parts)
    return f"{row.name} is set, but has no effect on {named}: {_reason(row, loaded)}"


def _has_effect(row: Variable, loaded: Loaded, text: str) -> bool:
    if row.key == "chat":
        return row.name in of_chat(loaded)
    value: object = loaded.settings
    for part in row.key.split("."):
        value = getattr(value, part)
    if row.is_secret:
        return isinstance(value, Secret) and value.name is not None and variable(value.name) == row.name
    # Overrides of a run take precedence over variables.
    accepted = logs.normalize_level(text) if row.key == "logging.level" else _scalar(text)
    return loaded.origin(row.key) == OVERRIDE or str(value) == text or value == accepted


def _scalar(text: str) -> object:
    try:
        return scalar(text)
    except ValueError:
        return text


def of_chat(loaded: Loaded) -> set[str]:
    """Return the variables that replace the URLs and secrets of chat channels."""
    names: set[str] = set()
    for channel in loaded.settings.chat:
        secrets = [secret.name for secret in (channel.url, channel.secret) if secret and secret.name]
        names |= {variable(name) for name in secrets}
        if channel.block:
            names |= {f"{variable(channel.block)}_{field}" for field in ("URL", "SECRET")}
    return names


def _reason(row: Variable, loaded: Loaded) -> str:
    reference = f"${{secret:{row.name.lower().replace('_', '-')}}}" if row.is_secret else f"${{{row.name}}}"
    if row.key == "chat":
        return f"no channel of chat names {reference}. Write it in a channel, or unset {row.name}."
    origin = loaded.origin(row.key)
    state = f"{origin} sets {row.key} to another value" if origin else f"no layer sets {row.key}"
    return f"{state}. Write {row.key}: {reference} in a configuration file, or unset {row.name}."
