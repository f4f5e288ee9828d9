"""`python -m deploy.audit`: is one of the locked packages known to be vulnerable? pip-audit asks the OSV database.

Where nobody answers, nothing was audited: that is said, and is a failure only with `--strict`.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import yaml
from cyclopts import App
from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from ai_workflow.errors import AiWorkflowError
from ai_workflow.runtime import standard_output

ROOT = Path(__file__).resolve().parent.parent
# The protocol: https://google.github.io/osv.dev/post-v1-query/
OSV = "https://api.osv.dev/v1/query"
# Why pip-audit could not ask; its own exit code does not tell this from a finding.
_UNREACHED = ("ConnectionError", "ConnectTimeout", "ReadTimeout")
_TIMEOUT = 300
app = App(name="python -m deploy.audit", help=__doc__, version_flags=[])

Text = Annotated[str, StringConstraints(min_length=1)]


class AuditError(AiWorkflowError):
    """The audit cannot be made: a file is wrong, or pip-audit fails by itself."""


class Exemption(BaseModel):
    """A vulnerability that is known and borne, until a day, for a reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Text
    package: Text
    until: datetime.date
    reason: Text


class Finding(BaseModel):
    """A vulnerability of a locked package."""

    package: str
    version: str
    id: str
    aliases: tuple[str, ...] = ()
    fixed: str

    def __str__(self) -> str:
        names = f"{self.id} ({', '.join(self.aliases)})" if self.aliases else self.id
        return f"{self.package} {self.version}: {names}, fixed in {self.fixed or 'no version yet'}"


def exemptions(file: Path) -> list[Exemption]:
    """Return the exemptions of a file.

    Raises:
        AuditError: it is not a list of `{id, package, until, reason}`.
    """
    try:
        return TypeAdapter(list[Exemption]).validate_python(yaml.safe_load(file.read_text(encoding="utf-8")) or [])
    except (OSError, ValueError, yaml.YAMLError) as error:
        problems = error.errors() if isinstance(error, ValidationError) else []
        said = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems] or [str(error)]
        raise AuditError(f"{file}: {'; '.join(said)}. Each is {{id, package, until, reason}}") from error


def find(lock: Path, url: str) -> list[Finding] | None:
    """Return what is known against the locked packages; None if nobody could be asked.

    Raises:
        AuditError: pip-audit fails by itself, with its last line.
    """
    options = [
        "--disable-pip",
        "--progress-spinner=off",
        "--vulnerability-service=osv",
        "--timeout=10",
        "--format=json",
    ]
    command = [sys.executable, "-m", "pip_audit", *options, f"--osv-url={url}", f"--requirement={lock}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return None
    if done.stdout.strip():
        packages = json.loads(done.stdout)["dependencies"]
        return [
            Finding(
                package=each["name"],
                version=each["version"],
                id=hole["id"],
                aliases=tuple(hole["aliases"]),
                fixed=", ".join(hole["fix_versions"]),
            )
            for each in packages
            for hole in each.get("vulns", [])
        ]
    if any(reason in done.stderr for reason in _UNREACHED):
        return None
    raise AuditError(f"pip-audit failed: {done.stderr.strip().splitlines()[-1:]}")


def judge(found: Iterable[Finding], exempt: Iterable[Exemption], today: datetime.date) -> tuple[list[str], list[str]]:
    """Return what is wrong, and what is borne for now, a line each."""
    known = {(one.package, one.id): one for one in exempt}
    wrong, borne = [], []
    for finding in found:
        names = (finding.id, *finding.aliases)
        one = next((known[finding.package, name] for name in names if (finding.package, name) in known), None)
        if one is None:
            wrong.append(str(finding))
        elif one.until < today:
            wrong.append(f"{finding}; it was borne until {one.until} ({one.reason})")
        else:
            borne.append(f"{finding}; borne until {one.until}: {one.reason}")
    return wrong, borne


@app.default
def main(
    *,
    lock: Path = ROOT / "requirements.lock",
    exempt: Path = ROOT / "deploy" / "audit.yaml",
    osv: str = OSV,
    strict: bool = False,
) -> int:
    """Hold the locked packages against the vulnerabilities that are known today.

    Args:
        lock: the locked packages, with hashes.
        exempt: those that are borne for now.
        osv: where the OSV database is asked.
        strict: fail where nobody answers, too.
    """
    try:
        borne_for_now = exemptions(exempt)
        found = find(lock, osv)
    except AuditError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if found is None:
        print(f"NOT AUDITED: {osv} does not answer, so nobody knows what is known against {lock.name}", file=sys.stderr)
        return int(strict)
    wrong, borne = judge(found, borne_for_now, datetime.datetime.now(datetime.UTC).date())
    print("\n".join([*borne, f"{lock.name}: {len(wrong)} vulnerabilities"]))
    for line in wrong:
        print(f"error: {line}. make lock UPGRADE=1, or bear it for now in {exempt.name}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    with standard_output.exit_when_closed():
        sys.exit(app(result_action="return_value"))
