"""Detection of the operating system and its family by os-release(5)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Family = Literal["centos", "ubuntu"]

_FILES = (Path("/etc/os-release"), Path("/usr/lib/os-release"))
_FAMILIES: dict[Family, frozenset[str]] = {
    # RHEL and its rebuilds, then RPM distributions that derive from RHEL, Fedora or openEuler.
    "centos": frozenset((
        "rhel", "centos", "fedora", "rocky", "almalinux", "ol", "oracle", "amzn", "scientific", "eurolinux", "circle",
        "virtuozzo", "miraclelinux", "cloudlinux", "openela", "asianux", "openeuler", "euleros", "hce", "opencloudos",
        "tencentos", "tlinux", "anolis", "alinux", "alios", "kylin", "neokylin", "kylinsec", "bclinux", "ctyunos",
        "fusionos", "cgsl", "kos", "inlinux", "culinux",
    )),
    "ubuntu": frozenset((
        "debian", "ubuntu", "deepin", "uos", "uniontech", "openkylin", "ubuntukylin", "linuxmint", "kali", "raspbian",
        "pop", "velinux",
    )),
}  # fmt: skip
# Desktop and server editions share an ID and differ in base: ID_LIKE and PLATFORM_ID, which only RPM systems have,
# come before the ID.
_BOTH = frozenset(("kylin", "uos", "uniontech"))


@dataclass(frozen=True, slots=True)
class System:
    """A system: ID and name of os-release, and the family."""

    id: str = ""
    title: str = ""
    family: Family | None = None


def detect(env: Mapping[str, str]) -> System:
    """Return the system described by os-release; an empty one if no such file can be read.

    AIW_OS_RELEASE is the path of another file to read.
    """
    named = env.get("AIW_OS_RELEASE")
    for path in [Path(named)] if named else _FILES:
        try:
            return of_text(path.read_text(encoding="utf-8-sig", errors="replace"))
        except OSError:
            continue
    return System()


def of_text(text: str) -> System:
    """Return the system described by the text of an os-release file."""
    fields = _fields(text)
    own = fields.get("ID", "").lower()
    like = fields.get("ID_LIKE", "").lower().split()
    ids = [*like, *(["rhel"] if fields.get("PLATFORM_ID") else []), own] if own in _BOTH else [own, *like]
    families = (name for item in ids for name, members in _FAMILIES.items() if item in members)
    return System(own, fields.get("PRETTY_NAME") or fields.get("NAME") or own, next(families, None))


def _fields(text: str) -> dict[str, str]:
    fields = {}
    for line in text.splitlines():
        key, separator, value = line.strip().partition("=")
        if separator and not key.startswith("#"):
            try:
                fields[key.strip()] = " ".join(shlex.split(value))
            except ValueError:
                fields[key.strip()] = value
    return fields
