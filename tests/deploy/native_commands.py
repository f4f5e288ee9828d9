"""The commands of the native stack, by which containers and units are judged: the same program, the same arguments."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ai_workflow.local.stack.services import SERVICES

# An address differs with the place: loopback on a machine, every address inside of a container.
HOSTS = ("127.0.0.1", "0.0.0.0")  # noqa: S104 - compared, never bound


def commands(*, with_guards: bool = True) -> dict[str, list[str]]:
    """Return the command of each service of the project, as `alike` writes it."""
    ports = {service.name: service.port for service in SERVICES}
    return {
        service.name: alike(
            [
                part.format(host=HOSTS[0], port=service.port, inner_port=ports.get(service.guards or ""), folder="")
                for part in service.command
            ]
        )
        for service in SERVICES
        if service.install is None and (with_guards or service.guards is None)
    }


def alike(command: Sequence[str]) -> list[str]:
    """Return a command without the folder of its program, and with the place it listens on left open."""
    program, *arguments = command
    upstream = re.compile("(?<=http://)[^:/]+(?=:)")
    return [
        program.rpartition("/")[2],
        *("HOST" if part in HOSTS else upstream.sub("HOST", part) for part in arguments),
    ]
