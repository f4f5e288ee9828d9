"""The audit of the locked packages: against a server that speaks OSV's protocol, and where none answers."""

from __future__ import annotations

import datetime
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy import audit
from tests import services

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
LOCK = "pyyaml==6.0.2 --hash=sha256:" + "0" * 64 + "\nidna==3.10 --hash=sha256:" + "1" * 64 + "\n"
HOLE = {
    "id": "GHSA-0815", "aliases": ["CVE-2026-1"], "modified": "2026-01-01T00:00:00Z",
    "summary": "it executes what it loads",
    "affected": [{
        "package": {"name": "pyyaml", "ecosystem": "PyPI"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "6.0.3"}]}],
    }],
}  # fmt: skip


class _Osv(http.server.BaseHTTPRequestHandler):
    """Answers `POST /v1/query` as https://google.github.io/osv.dev/post-v1-query/ says."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path != "/v1/query":
            return self._say(404, {"code": 5, "message": "Not Found"})
        known = asked["package"] == {"name": "pyyaml", "ecosystem": "PyPI"} and asked["version"] == "6.0.2"
        return self._say(200, {"vulns": [HOLE]} if known else {})

    def _say(self, code: int, held: object) -> None:
        body = json.dumps(held).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def osv() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer((services.LOOPBACK, 0), _Osv)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{services.LOOPBACK}:{server.server_port}/v1/query"
    server.shutdown()
    server.server_close()


def run(folder: Path, url: str, *options: str, exempt: str = "", lock: str = LOCK) -> subprocess.CompletedProcess[str]:
    (folder / "requirements.lock").write_text(lock)
    (folder / "audit.yaml").write_text(exempt)
    files = ["--lock", str(folder / "requirements.lock"), "--exempt", str(folder / "audit.yaml")]
    return subprocess.run(
        [sys.executable, "-m", "deploy.audit", *files, "--osv", url, *options],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_known_vulnerability_fails_audit_with_remedy(tmp_path: Path, osv: str) -> None:
    done = run(tmp_path, osv)

    assert done.returncode == 1
    assert "error: pyyaml 6.0.2: CVE-2026-1 (GHSA-0815), fixed in 6.0.3. make lock UPGRADE=1" in done.stderr
    assert "idna" not in done.stderr


def test_packages_without_vulnerabilities_pass_audit(tmp_path: Path, osv: str) -> None:
    done = run(tmp_path, osv, lock=LOCK.replace("6.0.2", "6.0.3"))

    assert (done.returncode, done.stdout, done.stderr) == (0, "requirements.lock: 0 vulnerabilities\n", "")


def test_exempt_vulnerability_alias_passes_audit(tmp_path: Path, osv: str) -> None:
    exempt = "- {id: GHSA-0815, package: pyyaml, until: 2999-01-01, reason: safe_load only}"
    done = run(tmp_path, osv, exempt=exempt)

    assert (done.returncode, done.stderr) == (0, "")
    assert "accepted until 2999-01-01: safe_load only" in done.stdout


def test_failed_audit_service_fails_audit(tmp_path: Path, osv: str) -> None:
    done = run(tmp_path, osv.replace("query", "nothing"))

    assert done.returncode == 1
    assert "pip-audit failed" in done.stderr


@pytest.mark.slow
def test_unreachable_audit_service_fails_only_in_strict_mode(tmp_path: Path) -> None:
    nobody = f"http://{services.LOOPBACK}:{services.free_port()}/v1/query"
    for options, code in (((), 0), (("--strict",), 1)):
        done = run(tmp_path, nobody, *options)
        assert done.returncode == code
        assert done.stderr.startswith(f"NOT AUDITED: {nobody} does not answer")


def test_exemption_is_reported_until_expiry_date() -> None:
    found = [audit.Finding(package="pyyaml", version="6.0.2", id="GHSA-0815", fixed="6.0.3")]
    day = datetime.date(2026, 11, 26)
    exempt = [audit.Exemption(id="GHSA-0815", package="pyyaml", until=day, reason="safe_load only")]

    assert audit.classify(found, exempt, day) == (
        [], ["pyyaml 6.0.2: GHSA-0815, fixed in 6.0.3; accepted until 2026-11-26: safe_load only"],
    )  # fmt: skip
    wrong, borne = audit.classify(found, exempt, day + datetime.timedelta(1))
    assert (borne, "it was accepted until 2026-11-26 (safe_load only)" in wrong[0]) == ([], True)


@pytest.mark.parametrize(
    ("exempt", "said"),
    [
        ("- {id: GHSA-1, package: pyyaml, until: 2027-01-01}", "0.reason: Field required"),
        ("- {id: GHSA-1, package: pyyaml, until: soon, reason: x}", "0.until: Input should be a valid date"),
        ("- {id: ", "audit.yaml: "),
    ],
    ids=["no reason", "no day", "no YAML"],
)
def test_invalid_exemption_is_rejected(tmp_path: Path, exempt: str, said: str) -> None:
    file = tmp_path / "audit.yaml"
    file.write_text(exempt)
    with pytest.raises(audit.AuditError) as refused:
        audit.exemptions(file)
    assert said in str(refused.value)


def test_project_exemptions_are_valid() -> None:
    audit.exemptions(ROOT / "deploy" / "audit.yaml")
