"""Containers without a container runtime: each service of compose.yaml as a process in namespaces of its own.

Its command, its variables, its volumes, the variables of the image and its health check are those of the files; its
root file system is read-only, it has no capabilities, and it finds the others by their names. What the image holds is
what the repository holds. Runs as root, in a network namespace and a mount namespace that somebody has made for it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.deploy import compose, dockerfile

ROOT = Path(__file__).parents[2]
_STORE = "/var/lib/ai-workflow"
_UNPRIVILEGED = ("setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--")
_NAMESPACES = ("unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child=KILL")
_SECONDS = 300.0


class Host:
    """The machine that the containers are on.

    Args:
        folder: an empty one.
        variables: what `.env` would say.
        database: the address of Prefect's database, in place of that of the service `database`.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str], database: str) -> None:
        self.folder = folder
        self._services = compose.filled(variables)["services"]
        self._services["server"]["environment"]["PREFECT_API_DATABASE_CONNECTION_URL"] = database
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.image = dict(
            re.findall(r"(\w+)=(\S+)", next(each.said for each in dockerfile.read() if each.name == "ENV"))
        )
        self._lay_etc()
        for place in ("/var/lib", "/run"):
            _mount("-t", "tmpfs", "none", place)
        Path(_STORE).mkdir()
        self._lay_secrets(variables)

    def start(self, name: str) -> None:
        """Start a service."""
        log = (self.folder / f"{name}.log").open("wb")
        self._running[name] = subprocess.Popen(
            self._command(name, self._services[name]["command"]),
            cwd=ROOT, env=self._environment(name), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip

    def run(self, name: str, command: list[str]) -> str:
        """Run a command as `docker compose run` does, and return what it says; one that fails is an error."""
        found = subprocess.run(
            self._command(name, command), cwd=ROOT, env=self._environment(name), capture_output=True, text=True,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if found.returncode:
            raise RuntimeError(
                f"{name}: {shlex.join(command)} ended with {found.returncode}: {found.stdout}{found.stderr}"
            )
        return found.stdout

    def once(self, name: str) -> str:
        """Run a service that ends by itself, and return what it says."""
        return self.run(name, self._services[name]["command"])

    def until_healthy(self, name: str) -> None:
        """Wait until the health check of a service says that it is well."""
        check = self._services[name]["healthcheck"]["test"][1:]
        deadline = time.monotonic() + _SECONDS
        while (
            asked := subprocess.run(check, cwd=ROOT, env=self._environment(name), capture_output=True, check=False)
        ).returncode:
            if self._running[name].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} is not well: {asked.stderr.decode()}{self.said(name)}")
            time.sleep(0.2)

    def said(self, name: str) -> str:
        """Return the log of a service."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        """Stop all services."""
        for process in self._running.values():
            process.kill()
            process.wait()

    def _environment(self, name: str) -> dict[str, str]:
        temporary = self.folder / name / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        image = {key: self._here(value, temporary) for key, value in self.image.items()}
        image["PATH"] = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        image |= {"TMPDIR": str(temporary), "PYTHONPATH": str(ROOT / "src")}
        return image | self._services[name].get("environment", {})

    def _here(self, value: str, temporary: Path) -> str:
        value = value.replace("/opt/ai-workflow", str(ROOT))
        return f"{temporary}{value.removeprefix('/tmp')}" if value.startswith("/tmp") else value

    def _command(self, name: str, command: list[str]) -> list[str]:
        temporary = shlex.quote(str(self.folder / name / "tmp"))
        steps = [f"mount --bind {temporary} {temporary}"]
        volumes = dict(volume.split(":", 1) for volume in self._services[name]["volumes"])
        for source, target in volumes.items():
            place, _, mode = target.partition(":")
            given = self._volume(source)
            steps.append(f"mount --bind {shlex.quote(str(given))} {place}")
            steps += [f"mount -o remount,bind,ro {place}"] if mode == "ro" else []
        if not any(target.partition(":")[0] == _STORE for target in volumes.values()):
            steps.append(f"mount -t tmpfs -o ro none {_STORE}")
        steps += ["mount -o remount,bind,ro /", f"hostname {name}", shlex.join(["exec", *_UNPRIVILEGED, *command])]
        return [*_NAMESPACES, "sh", "-c", " && ".join(steps)]

    def _volume(self, source: str) -> Path:
        """Return the folder of a volume that has a name; another is a folder already."""
        if "/" in source:
            return Path(source)
        named = self.folder / "volumes" / source
        named.mkdir(parents=True, exist_ok=True)
        return named

    def _lay_etc(self) -> None:
        """Give the machine an /etc of its own: names of the services, and what the Dockerfile copies there."""
        etc = self.folder / "etc"
        shutil.copytree("/etc", etc, symlinks=True)
        (etc / "hosts").write_text(f"127.0.0.1 localhost {' '.join(self._services)}\n")
        for each in dockerfile.read():
            *sources, target = each.words if each.name == "COPY" else [""]
            if target.startswith("/etc/"):
                place = etc / target.removeprefix("/etc/")
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / sources[0], place)
        _mount("--bind", str(etc), "/etc")

    def _lay_secrets(self, variables: Mapping[str, str]) -> None:
        for name, held in compose.read()["secrets"].items():
            place = Path("/run/secrets") / name
            place.parent.mkdir(exist_ok=True)
            place.write_text(variables[held["environment"]])


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def bring_up_loopback() -> None:
    """Let a new network namespace reach itself."""
    up, get, put = 1, 0x8913, 0x8914  # IFF_UP, SIOCGIFFLAGS, SIOCSIFFLAGS of <linux/if.h> and <linux/sockios.h>
    with socket.socket() as any_socket:
        asked = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, get, asked))[1]
        fcntl.ioctl(any_socket, put, struct.pack("16sH14x", b"lo", flags | up))


def possible() -> bool:
    """Say whether this process may make namespaces."""
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "true"]
    return (
        os.geteuid() == 0
        and shutil.which("unshare") is not None
        and subprocess.run(command, check=False).returncode == 0
    )
