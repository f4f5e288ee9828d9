"""`python -m deploy.audit`: check the locked packages for known vulnerabilities by pip-audit and the OSV database.

If the database does not answer, a warning is printed; with `--strict` that is a failure.
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
from cyclopts import App, Parameter
from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from ai_workflow.errors import AiWorkflowError
from ai_workflow.runtime import standard_output

ROOT = Path(__file__).resolve().parent.parent
# Protocol: https://google.github.io/osv.dev/post-v1-query/
OSV = "https://api.osv.dev/v1/query"
# Errors of pip-audit without a connection; its exit code is the same as for a finding.
_UNREACHED = ("ConnectionError", "ConnectTimeout", "ReadTimeout")
_TIMEOUT = 300
app = App(name="python -m deploy.audit", help=__doc__, version_flags=[], default_parameter=Parameter(negative=()))

Text = Annotated[str, StringConstraints(min_length=1)]


class AuditError(AiWorkflowError):
    """A file is invalid, or pip-audit failed."""


class Exemption(BaseModel):
    """A known vulnerability that is accepted until a day, with a reason."""

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
        messages = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems] or [str(error)]
        raise AuditError(f"{file}: {'; '.join(messages)}. Each item is {{id, package, until, reason}}") from error


def find(lock: Path, url: str) -> list[Finding] | None:
    """Return the known vulnerabilities of the locked packages, None if the database does not answer.

    Raises:
        AuditError: pip-audit failed; with its last line.
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
                package=package["name"],
                version=package["version"],
                id=vulnerability["id"],
                aliases=tuple(vulnerability["aliases"]),
                fixed=", ".join(vulnerability["fix_versions"]),
            )
            for package in packages
            for vulnerability in package.get("vulns", [])
        ]
    if any(reason in done.stderr for reason in _UNREACHED):
        return None
    raise AuditError(f"pip-audit failed: {done.stderr.strip().splitlines()[-1:]}")


def classify(
    findings: Iterable[Finding], exempt: Iterable[Exemption], today: datetime.date
) -> tuple[list[str], list[str]]:
    """Return the errors and the accepted vulnerabilities, a line each."""
    exemptions_by_name = {(each.package, each.id): each for each in exempt}
    errors = []
    accepted = []
    for finding in findings:
        names = [(finding.package, name) for name in (finding.id, *finding.aliases)]
        exemption = next((exemptions_by_name[name] for name in names if name in exemptions_by_name), None)
        if exemption is None:
            errors.append(str(finding))
        elif exemption.until < today:
            errors.append(f"{finding}; it was accepted until {exemption.until} ({exemption.reason})")
        else:
            accepted.append(f"{finding}; accepted until {exemption.until}: {exemption.reason}")
    return errors, accepted


@app.default
def main(
    *,
    lock: Path = ROOT / "requirements.lock",
    exempt: Path = ROOT / "deploy" / "audit.yaml",
    osv: str = OSV,
    strict: bool = False,
) -> int:
    """Check the locked packages for known vulnerabilities.

    Args:
        lock: Requirements file with versions and hashes.
        exempt: File of accepted vulnerabilities.
        osv: URL of the OSV database.
        strict: Fail if the database does not answer.
    """
    try:
        accepted_until = exemptions(exempt)
        findings = find(lock, osv)
    except AuditError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if findings is None:
        print(f"NOT AUDITED: {osv} does not answer, so {lock.name} was not checked", file=sys.stderr)
        return int(strict)
    errors, accepted = classify(findings, accepted_until, datetime.datetime.now(datetime.UTC).date())
    print("\n".join([*accepted, f"{lock.name}: {len(errors)} vulnerabilities"]))
    for problem in errors:
        print(f"error: {problem}. make lock UPGRADE=1, or accept it for some time in {exempt.name}", file=sys.stderr)
    return int(bool(errors))


if __name__ == "__main__":
    with standard_output.exit_when_closed():
        sys.exit(app(result_action="return_value"))
