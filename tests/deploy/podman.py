"""Podman with a storage, a runtime and limits of its own, which are removed with all it holds."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

# The programs, with the Debian packages that have them. Debian's crun does not start containers under cgroup v1.
PACKAGES = {"podman": "podman", "runc": "runc", "debootstrap": "debootstrap"}
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

_ATTEMPTS = 3
_END_SECONDS = 30.0


class PodmanError(Exception):
    """A command of podman failed."""


class Podman:
    """Podman on a storage of its own.

    Args:
        folder: an empty folder, not in memory; `remove` deletes it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = os.environ | {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "BUILDAH_ISOLATION": "chroot",
            # One layer for each stage: the image is built once.
            "BUILDAH_LAYERS": "false",
            # Podman's timers of systemd are not needed: the tests run the health checks.
            "DISABLE_HC_SYSTEMD": "true",
            "TMPDIR": str(folder),
        }
        limits = [
            f'"{name}={_limit(number)}:{_limit(number)}"'
            for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC))
        ]
        (folder / "containers.conf").write_text(
            f"[containers]\ndefault_ulimits = [{', '.join(limits)}]\n"
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nlock_type = "file"\n'
            f'tmp_dir = "{folder}/engine"\n'
        )
        self._write_storage("overlay")
        if self.run("info", check=False).returncode:
            shutil.rmtree(folder / "storage", ignore_errors=True)
            self._write_storage("vfs")

    def run(
        self, *arguments: str | Path, check: bool = True, folder: Path | None = None, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of podman; raise PodmanError with its output if it fails and `check` is true."""
        found = subprocess.run(
            ["podman", *arguments], check=False, cwd=folder or self.folder, env=self._environment,
            capture_output=True, text=True, input=stdin,
        )  # fmt: skip
        if check and found.returncode:
            output = (found.stdout + found.stderr)[-6000:]
            raise PodmanError(f"podman {' '.join(map(str, arguments[:3]))} ended with {found.returncode}: {output}")
        return found

    def import_base(self, archive: Path, tag: str) -> None:
        """Make an image of a root file system; skips the test where this machine does not let it run."""
        self.run("import", archive, tag)
        tried = self.run("run", "--rm", "--network", "none", tag, "true", check=False)
        if tried.returncode:
            pytest.skip(f"this machine does not run containers: {tried.stderr.strip().splitlines()[-1]}")

    def build(self, context: Path, arguments: Sequence[str], base: str) -> str:
        """Build an image as the documentation does, with what this machine needs to reach its package index."""
        needed = [f"--volume={source}:{target}:ro" for target, source in self._package_index().items()]
        built = self.run("build", "--build-arg", f"BASE={base}", *needed, *arguments, folder=context)
        return built.stdout + built.stderr

    def remove(self) -> None:
        """Kill and delete all containers and images."""
        # The container whose network others share can be removed only after them.
        for _ in range(_ATTEMPTS):
            if self.run("ps", "--all", "--quiet", check=False).stdout:
                self.run("rm", "--all", "--force", "--volumes", "--time", "0", check=False)
        deadline = time.monotonic() + _END_SECONDS
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for place in reversed(mounts):
            if place.startswith(f"{self.folder}/"):
                subprocess.run(["umount", place], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self) -> list[str]:
        """Return the commands of the processes that watch over containers of this storage."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        return [command for command in found if str(self.folder) in command]

    def _write_storage(self, driver: str) -> None:
        places = f'graphroot = "{self.folder}/storage"\nrunroot = "{self.folder}/running"\n'
        (self.folder / "storage.conf").write_text(f'[storage]\ndriver = "{driver}"\n{places}')

    def _package_index(self) -> dict[str, Path]:
        """Return the files that give pip and uv in the build the settings that both have on this machine."""
        pip, uv = self.folder / "pip.conf", self.folder / "uv.toml"
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
        ).stdout
        settings = dict(line.partition("=")[::2] for line in listed.splitlines())
        named = {name.rpartition(".")[2]: value.strip("'\"") for name, value in settings.items()}
        passed = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")
        remote = {
            name: [each for each in named.get(name, "").split() if not each.startswith("file:")] for name in passed
        }
        lines = [f"{name} = {' '.join(values)}" for name, values in remote.items() if values]
        pip.write_text("\n".join(["[global]", f"cert = {_CERTIFICATES}", *lines, ""]))
        own = [Path.home() / ".config/uv/uv.toml", Path("/etc/uv/uv.toml")]
        index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")
        text = next((path.read_text() for path in own if path.exists()), f'index-url = "{index}"\n' if index else "")
        uv.write_text(text if "system-certs" in text else f"system-certs = true\n{text}")
        trusted = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or _CERTIFICATES
        return {"/etc/pip.conf": pip, "/etc/uv/uv.toml": uv, str(_CERTIFICATES): Path(trusted)}


def _limit(number: int) -> int:
    """Return a limit that may be set without the capability to raise it."""
    enough, hard = 4096, resource.getrlimit(number)[1]
    return enough if hard == resource.RLIM_INFINITY else min(enough, hard)


@contextlib.contextmanager
def running() -> Iterator[Podman]:
    """Yield a podman whose containers, images and files are removed; skips the test where it cannot run."""
    missing = [package for program, package in PACKAGES.items() if not shutil.which(program)]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt-get install --no-install-recommends {' '.join(PACKAGES.values())}")
    if os.geteuid():
        pytest.skip("only root may build and run these containers")
    podman = Podman(Path(tempfile.mkdtemp(prefix="podman-", dir="/var/tmp")))
    try:
        yield podman
    finally:
        podman.remove()
