"""Reads a Dockerfile: instructions with their lines joined, comments left out."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parents[2] / "deploy" / "Dockerfile"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its name in capitals, what it says, and the number of its stage."""

    name: str
    said: str
    stage: int

    @property
    def words(self) -> list[str]:
        """What an exec form or a list of files holds."""
        return list(json.loads(self.said)) if self.said.startswith("[") else self.said.split()


def read(path: Path = FILE) -> list[Instruction]:
    """Return the instructions in their order; `ARG` before the first `FROM` has stage -1."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found: list[Instruction] = []
    stage = -1
    for line in filter(None, joined.splitlines()):
        name, _, said = line.partition(" ")
        stage += name == "FROM"
        found.append(Instruction(name, said.strip(), stage))
    return found


def argument(name: str, path: Path = FILE) -> str:
    """Return the default of a build argument."""
    (value,) = [each.said.removeprefix(f"{name}=") for each in read(path) if each.said.startswith(f"{name}=")]
    return value
