"""The services of compose.yaml as containers of podman: its commands, variables, volumes, checks and restrictions."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.deploy import compose
from tests.deploy.podman import Podman

# The one network of all containers has nothing but loopback; its names are those of the services.
_NETWORK = "network"
_SECONDS = 300.0
_READINESS = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:8080/v2/health/ready", timeout=60).read().decode())
"""


class Composed:
    """Containers of compose.yaml.

    Args:
        podman: has the images.
        base: an image with `sleep`, for the container whose network all share.
        variables: what `.env` would say; `AIW_SITE` is an absolute path.
        database: the address of Prefect's database, in place of that of the service `database`.
    """

    def __init__(self, podman: Podman, base: str, variables: Mapping[str, str], database: str) -> None:
        self._podman = podman
        self.services: dict[str, dict[str, Any]] = compose.filled(variables)["services"]
        self.services["server"]["environment"]["PREFECT_API_DATABASE_CONNECTION_URL"] = database
        self._hosts = podman.folder / "hosts"
        self._hosts.write_text(f"127.0.0.1 localhost {' '.join(self.services)}\n")
        self._hosts.chmod(0o644)
        podman.run("run", "--detach", "--name", _NETWORK, "--network", "none", base, "sleep", "infinity")

    @staticmethod
    def image(service: Mapping[str, Any]) -> str:
        """Return the image of a service as podman names it."""
        return f"localhost/{service['image']}"

    def start(self, name: str) -> None:
        """Start a service."""
        self._podman.run("run", "--detach", "--name", name, *self._arguments(name))

    def once(self, name: str) -> list[str]:
        """Run a service that ends by itself, and return its lines; one that fails is an error."""
        return self._podman.run("run", "--rm", *self._arguments(name)).stdout.splitlines()

    def until_healthy(self, name: str) -> None:
        """Wait until the health check of a service succeeds."""
        deadline = time.monotonic() + _SECONDS
        while (checked := self._podman.run("healthcheck", "run", name, check=False)).returncode:
            if self.state(name)["Status"] != "running" or time.monotonic() > deadline:
                raise RuntimeError(f"{name} is not healthy: {checked.stdout}{checked.stderr}{self.log(name)[-4000:]}")
            time.sleep(0.5)

    def until_serving(self, version: str) -> None:
        """Wait until the service answers by a version."""
        deadline = time.monotonic() + _SECONDS
        while (ready := self.python("service", _READINESS))["serving"] != version:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the service is {ready}: {self.log('service')[-4000:]}")
            time.sleep(0.5)

    def execute(self, name: str, *command: str, stdin: str = "") -> str:
        """Run a command in the container of a service, and return what it prints."""
        return self._podman.run("exec", "--interactive", name, *command, stdin=stdin).stdout

    def python(self, name: str, program: str) -> Any:
        """Run a Python program in the container of a service, and return the JSON that it prints."""
        return json.loads(self.execute(name, "python", "-", stdin=program))

    def stop(self, name: str) -> dict[str, Any]:
        """Stop a service as Compose does, and return its last state."""
        period = self.services[name].get("stop_grace_period", "10s").removesuffix("s")
        self._podman.run("stop", "--time", period, name)
        return self.state(name)

    def state(self, name: str) -> dict[str, Any]:
        """Return what podman knows of a container."""
        found: dict[str, Any] = json.loads(self._podman.run("container", "inspect", name).stdout)[0]["State"]
        return found

    def volume(self, name: str) -> Path:
        """Return the folder of a volume that has a name."""
        return Path(self._podman.run("volume", "inspect", name, "--format={{.Mountpoint}}").stdout.strip())

    def log(self, name: str) -> str:
        """Return what a service printed."""
        found = self._podman.run("logs", name)
        return found.stdout + found.stderr

    def _arguments(self, name: str) -> list[str]:
        held = self.services[name]
        return [
            "--network", f"container:{_NETWORK}", f"--volume={self._hosts}:/etc/hosts:ro", "--read-only-tmpfs=false",
            *(["--read-only"] if held.get("read_only") else []),
            *(f"--cap-drop={each}" for each in held.get("cap_drop", [])),
            *(f"--security-opt={each.replace(':', '=')}" for each in held.get("security_opt", [])),
            *(f"--tmpfs={each}" for each in held.get("tmpfs", [])),
            *(f"--volume={each}" for each in held.get("volumes", [])),
            *(f"--env={key}={value}" for key, value in held.get("environment", {}).items()),
            *_health(held.get("healthcheck", {})),
            "--pull=never", held["image"], *held["command"],
        ]  # fmt: skip


def _health(check: Mapping[str, Any]) -> list[str]:
    if check.get("disable"):
        return ["--no-healthcheck"]
    times = {
        "interval": check.get("interval"), "timeout": check.get("timeout"),
        "start-period": check.get("start_period"), "retries": check.get("retries"),
    }  # fmt: skip
    given = [f"--health-{name}={value}" for name, value in times.items() if value is not None]
    kind, *command = check.get("test", [None])
    return [*([f"--health-cmd={json.dumps(command)}"] if kind == "CMD" else []), *given]
