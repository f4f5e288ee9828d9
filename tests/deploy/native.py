"""The commands of the native stack, by which containers and units are judged: the same program, the same arguments."""

from __future__ import annotations

from collections.abc import Sequence

# An address differs with the place: loopback on a machine, every address inside of a container.
HOSTS = ("127.0.0.1", "0.0.0.0")  # noqa: S104 - compared, never bound

COMMANDS = {
    "server": "prefect server start --host 127.0.0.1 --port 4200",
    "worker": "prefect worker start --pool ai-workflow",
    "service": "ai-workflow serve",
    "exporter": "python -m monitoring exporter --host 127.0.0.1 --port 9109",
    "relay": "python -m monitoring relay --host 127.0.0.1 --port 9110",
}


def commands() -> dict[str, list[str]]:
    """Return the command of each part, as `alike` writes it."""
    return {name: alike(text.split()) for name, text in COMMANDS.items()}


def alike(command: Sequence[str]) -> list[str]:
    """Return a command without the folder of its program, and with the place it listens on left open."""
    program, *arguments = command
    return [program.rpartition("/")[2], *("HOST" if part in HOSTS else part for part in arguments)]
