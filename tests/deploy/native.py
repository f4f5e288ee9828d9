"""The commands of the native stack, by which containers and units are judged: the same program, the same arguments."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.stack.services import SERVICES

# An address differs with the place: loopback on a machine, every address inside of a container.
HOSTS = ("127.0.0.1", "0.0.0.0")  # noqa: S104 - compared, never bound


def commands() -> dict[str, list[str]]:
    """Return the command of each of our own services, as `alike` writes it."""
    return {
        service.name: alike([part.format(host=HOSTS[0], port=service.port, folder="") for part in service.command])
        for service in SERVICES
        if service.install is None
    }


def alike(command: Sequence[str]) -> list[str]:
    """Return a command without the folder of its program, and with the place it listens on left open."""
    program, *arguments = command
    return [program.rpartition("/")[2], *("HOST" if part in HOSTS else part for part in arguments)]
