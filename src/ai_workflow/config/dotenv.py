"""The file `.env` of the project: variables that the environment does not set.

Each line is `NAME=value`, with optional `export`, comments and quotes as in a shell. `$` is a plain character.
"""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping
from pathlib import Path

from ai_workflow.config.layers import project_root
from ai_workflow.config.problems import ConfigError, Problem
from ai_workflow.secret_values import Secret

NAME = "AIW_ENV_FILE"
_LINE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)")
_QUOTED = re.compile(r"""(?:'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)")\s*(?:#.*)?""")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_HIDDEN = re.compile(r"TOKEN|SECRET|PASSWORD|KEY|LOGIN|AUTH|(?<!API_)(?<!ENDPOINT_)URL")


def load(env: MutableMapping[str, str] = os.environ) -> list[str]:
    """Set the variables of `.env` that the environment does not have, and return their names.

    AIW_ENV_FILE names another file; if it is empty, no file is read. A variable with an empty value counts as set.

    Raises:
        ConfigError: the named file does not exist, or a line is not `NAME=value`.
    """
    named = env.get(NAME)
    if named == "":
        return []
    path = Path(named).expanduser() if named else _folder(env) / ".env"
    if not path.is_file():
        if named:
            raise ConfigError([Problem(NAME, 0, "", f"{named} is not a file. Correct the path, or unset {NAME}.")])
        return []
    missing = {name: value for name, value in read(path).items() if name not in env}
    env.update(missing)
    for value in (value for name, value in missing.items() if _HIDDEN.search(name)):
        _hide(value)
    return list(missing)


def read(path: Path) -> dict[str, str]:
    """Return the variables of a file.

    Raises:
        ConfigError: with each invalid line, without its text, which may be a secret.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise ConfigError(
            [Problem(str(path), 0, "", f"cannot be read: {reason}. Correct or remove the file.")]
        ) from None
    variables: dict[str, str] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            pair = _pair(line.strip())
            if pair and pair[0] in variables:
                raise ValueError(f"{pair[0]} is set twice. Remove one of the lines.")
            variables |= dict([pair] if pair else [])
        except ValueError as error:
            problems.append(Problem(str(path), number, "", str(error)))
    if problems:
        raise ConfigError(problems)
    return variables


def _pair(line: str) -> tuple[str, str] | None:
    if not line or line.startswith("#"):
        return None
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("not NAME=value. Write one variable on each line, or begin a comment with #.")
    name, value = match["name"], match["value"]
    if "\0" in value:
        raise ValueError(f"{name} holds a NUL character. Remove it.")
    if not value.startswith(("'", '"')):
        return name, _COMMENT.sub("", value).strip()
    quoted = _QUOTED.fullmatch(value)
    if quoted is None:
        raise ValueError(f"{name} has a quote that is not closed, or text behind it. Quote the whole value.")
    if quoted["single"] is not None:
        return name, quoted["single"]
    return name, re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), quoted["double"])


def _hide(value: str) -> None:
    # Every `Secret` is masked in logs and errors; of a login, the password alone as well.
    Secret(value)
    Secret(value.partition(":")[2])


def _folder(env: MutableMapping[str, str]) -> Path:
    try:
        return project_root(None, env)
    except ConfigError:
        return Path.cwd()
