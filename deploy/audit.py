"""`python -m deploy.audit`: does requirements.lock hold a package with a known vulnerability? Asked of OSV, by uv."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from ai_workflow.errors import AiWorkflowError
from deploy import audit_exceptions

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
SERVICE = "https://api.osv.dev"
SECONDS = 10.0

_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
# uv audits its own kind of lock only: one is made for it, of which only names and versions count. As its packages seem
# to come from a folder, no index is asked about each.
_PROJECT = '[project]\nname = "audited"\nversion = "0"\nrequires-python = ">=3.11"\n'
_SOURCE = '{ registry = "packages" }'


class AuditError(AiWorkflowError):
    """The lock could not be audited, though the network is there."""


def main(arguments: Sequence[str]) -> int:
    """Audit, and say what was found.

    Returns:
        0 nothing known, or no network to ask over, which is said aloud; 1 a vulnerability; 2 it could not be audited.
    """
    if len(arguments) > 1:
        print(f"usage: python -m deploy.audit [ADDRESS OF A SERVICE THAT SPEAKS OSV]\n{__doc__}", file=sys.stderr)
        return 2
    service = (arguments[0] if arguments else SERVICE).rstrip("/")
    try:
        return audit(LOCK, service, audit_exceptions.FILE, datetime.now(UTC).date())
    except AiWorkflowError as error:
        print(error, file=sys.stderr)
        return 2


def audit(lock: Path, service: str, exceptions: Path, today: date) -> int:
    """Print what is known of the versions in a lock; return the exit code, 0 or 1.

    Raises:
        AuditError: the lock pins nothing, or uv fails.
    """
    pinned = _PINNED.findall(lock.read_text())
    if not pinned:
        raise AuditError(f"{lock} pins no package. Write it anew: make lock")
    excepted = audit_exceptions.read(exceptions)
    if why := _silence(service):
        print(f"NOT AUDITED: no network ({why}). What is in {lock.name} may have known vulnerabilities")
        return 0
    for each in excepted:
        print(each.told(today))
    found = _ask(pinned, service, [each.id for each in excepted if each.holds(today)])
    print(found.stdout + found.stderr, end="")
    if found.returncode > 1:
        raise AuditError(f"{lock.name} could not be audited: uv ended with {found.returncode}")
    if found.returncode:
        print(
            f"Take a version that is fixed: make lock UPGRADE=1. Where there is none, or it does not concern us, "
            f"say so in {exceptions.name}"
        )
    return found.returncode


def _silence(service: str) -> str:
    """Return why a service cannot be asked; empty: it answers. A proxy of the environment is used, as uv does."""
    if not service.startswith(("http://", "https://")):
        raise AuditError(f"{service} is no address: give one such as {SERVICE}")
    body = urllib.request.Request(f"{service}/v1/querybatch", b'{"queries": []}')  # noqa: S310 - http, as seen above
    try:
        with urllib.request.urlopen(body, timeout=SECONDS):  # noqa: S310
            return ""
    except urllib.error.HTTPError as error:
        # A server in trouble is as good as none; any other refusal is for uv to tell.
        return f"{service} answers {error.code}" if error.code >= 500 else ""
    except OSError as error:
        return f"{service}: {getattr(error, 'reason', error)}"


def _ask(pinned: list[tuple[str, str]], service: str, ignored: list[str]) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory(prefix="audit-") as name:
        (Path(name) / "pyproject.toml").write_text(_PROJECT)
        (Path(name) / "uv.lock").write_text(_as_uv_lock(pinned))
        command = [_uv(), "audit", "--frozen", "--project", name, "--no-config", "--no-cache", "--service-url", service]
        command += ["--preview-features", "audit-command", *(part for each in ignored for part in ("--ignore", each))]
        return subprocess.run(command, cwd=name, capture_output=True, text=True, check=False)


def _uv() -> str:
    """Return the locked uv, which knows how to audit; another only where that is missing."""
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise AuditError("uv is missing. Install what the lock has: make setup")
    return found


def _as_uv_lock(pinned: list[tuple[str, str]]) -> str:
    entries = [f'name = "{name}"\nversion = "{version}"\nsource = {_SOURCE}\n' for name, version in pinned]
    needed = ",\n".join(f"  {{ {entry.strip().replace(chr(10), ', ')} }}" for entry in entries)
    root = (
        f'[[package]]\nname = "audited"\nversion = "0"\nsource = {{ virtual = "." }}\ndependencies = [\n{needed}\n]\n'
    )
    packages = "\n".join(f"[[package]]\n{entry}" for entry in entries)
    return f'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n\n{root}\n{packages}'


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
