"""The base image of the Dockerfile, made from the Debian mirror of this machine instead of a registry."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.deploy import dockerfile

# What `python:3.11-slim-bookworm` has: Debian's Python is 3.11 there, and slim images have no documentation.
_PACKAGES = "ca-certificates,python3,python3-venv"
_LEFT_OUT = (
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/lib/apt/lists",
    "var/cache/apt",
)
_ISSUER = "Debian"


def archive() -> Path:
    """Return the root file system of the base as a tar file, which is made once per user and release."""
    release = dockerfile.argument("BASE").rpartition("-")[2]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ai-workflow"
    path = folder / f"base-{release}-{os.uname().machine}.tar"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="base-", dir="/var/tmp") as name:
            _make(Path(name) / "root", release, _mirror())
            partial = path.with_suffix(f".{os.getpid()}")
            _run("tar", "--create", "--file", partial, "--directory", Path(name) / "root", ".")
            partial.replace(path)
    return path


def _make(root: Path, release: str, mirror: list[str]) -> None:
    _run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", release, root, *mirror)
    for name in _LEFT_OUT:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir()
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")


def _mirror() -> list[str]:
    """Return the address of the mirror that apt of this machine uses for Debian; none means that of debootstrap."""
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages"]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    mirrors = [line.split()[2] for line in found.stdout.splitlines() if line.startswith(f"{_ISSUER} {_ISSUER} ")]
    return mirrors[:1]


def _run(*command: str | Path) -> None:
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(f"{command[0]} ended with {found.returncode}: {(found.stdout + found.stderr)[-3000:]}")
