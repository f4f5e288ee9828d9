"""Reads deploy/systemd as systemd would: each unit, then the drop-in that all share."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
COMMON = FOLDER / "ai-workflow-.service.d" / "10-common.conf"
PREFIX = "ai-workflow-"
# Where an installation has its programs; docs/containers.md says how they get there.
PROGRAMS = "/opt/ai-workflow/.venv/bin/"


def units() -> dict[str, Path]:
    """Return each unit of ours by its part."""
    return {path.stem.removeprefix(PREFIX): path for path in sorted(FOLDER.glob(f"{PREFIX}*.service"))}


def section(path: Path, name: str = "Service") -> list[tuple[str, str]]:
    """Return the settings of a section in their order, keys as often as they come."""
    found, here = [], ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            here = line.strip("[]")
        elif here == name and "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            found.append((key, value))
    return found


def service(part: str) -> list[tuple[str, str]]:
    """Return what holds for a part: its own settings, then those of the drop-in."""
    return section(units()[part]) + section(COMMON)


def values(part: str, key: str) -> list[str]:
    """Return every value of a key that holds for a part."""
    return [value for name, value in service(part) if name == key]


def environment(part: str) -> dict[str, str]:
    """Return the variables that a part is started with."""
    return dict(pair.split("=", 1) for value in values(part, "Environment") for pair in value.split())
