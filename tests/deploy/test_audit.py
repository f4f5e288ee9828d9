"""Known vulnerabilities of locked packages are named, put up with for a time only, or loudly not looked for."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from ai_workflow.errors import AiWorkflowError
from deploy import audit, audit_exceptions
from tests.deploy import osv
from tests.services import free_port

TODAY = date(2026, 11, 26)
LOCK = f"""\
# made by make lock
contourpy==1.3.3 ; python_full_version < '3.12' \\
    --hash=sha256:{"0" * 64}
contourpy==1.4.0 ; python_full_version >= '3.12' \\
    --hash=sha256:{"1" * 64}
{{jinja2}} \\
    --hash=sha256:{"2" * 64}
    # via prefect
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock with a package that has a known vulnerability."""
    return written(tmp_path / "requirements.lock", LOCK.format(jinja2=f"{osv.NAME}=={osv.VERSION}"))


@pytest.fixture
def none(tmp_path: Path) -> Path:
    """No exceptions."""
    return written(tmp_path / "none.yaml", "[]\n")


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def excepting(folder: Path, name: str, until: str) -> Path:
    return written(folder / "exceptions.yaml", f"- {{id: {name}, reason: nothing is rendered here, until: {until}}}\n")


def test_a_known_vulnerability_is_named_with_package_version_advisory_and_what_fixes_it(
    lock: Path, none: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with osv.answering() as (address, _):
        assert audit.audit(lock, address, none, TODAY) == 1

    said = capsys.readouterr().out
    for word in (f"{osv.NAME} {osv.VERSION}", osv.ADVISORY, f"Fixed in: {osv.FIXED}", "make lock UPGRADE=1"):
        assert word in said


def test_every_locked_version_is_asked_for_whatever_machine_it_is_for(lock: Path, none: Path) -> None:
    fixed = written(lock, LOCK.format(jinja2=f"{osv.NAME}=={osv.FIXED}"))
    with osv.answering() as (address, asked):
        assert audit.audit(fixed, address, none, TODAY) == 0

    assert sorted(asked) == [("contourpy", "1.3.3"), ("contourpy", "1.4.0"), (osv.NAME, osv.FIXED)]


def test_our_own_lock_can_be_audited(none: Path) -> None:
    pinned = re.findall(r"^([a-z0-9-]+)==([^ ]+)", audit.LOCK.read_text(), re.MULTILINE)
    with osv.answering() as (address, asked):
        assert audit.audit(audit.LOCK, address, none, TODAY) == 0

    assert sorted(asked) == sorted(pinned)
    assert len(pinned) > 100


@pytest.mark.parametrize("name", [osv.ADVISORY, osv.ALIAS])
def test_an_exception_holds_until_its_day_and_is_said_each_time(
    lock: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with osv.answering() as (address, _):
        assert audit.audit(lock, address, excepting(lock.parent, name, "2026-11-26"), TODAY) == 0
        assert f"{name}: put up with until 2026-11-26: nothing is rendered here" in capsys.readouterr().out
        assert audit.audit(lock, address, excepting(lock.parent, name, "2026-11-25"), TODAY) == 1
        assert f"{name}: no longer put up with since 2026-11-25" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    ["- {id: CVE-1}", "- {id: CVE-1, reason: '', until: 2027-01-01}", "- {id: CVE-1, reason: x, until: some day}",
     "- {id: CVE-1, reason: x, until: 2027-01-01 10:00:00}", "- {id: CVE-1, reason: x, until: 2027-01-01, by: me}",
     "CVE-1", "- [CVE-1", "- CVE-1"],
)  # fmt: skip
def test_an_exception_without_a_reason_or_a_day_is_refused_before_anybody_is_asked(lock: Path, text: str) -> None:
    with osv.answering() as (address, asked), pytest.raises(AiWorkflowError, match=r"exceptions\.yaml"):
        audit.audit(lock, address, written(lock.parent / "exceptions.yaml", text), TODAY)

    assert asked == []


def test_ours_are_as_they_have_to_be() -> None:
    assert isinstance(audit_exceptions.read(audit_exceptions.FILE), list)


def test_without_a_network_nothing_fails_and_it_is_said_aloud(
    lock: Path, none: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.audit(lock, f"http://{osv.LOOPBACK}:{free_port()}", none, TODAY) == 0
    assert "NOT AUDITED: no network" in capsys.readouterr().out


def test_a_service_in_trouble_is_as_good_as_no_network(
    lock: Path, none: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with osv.answering(trouble=503) as (address, _):
        assert audit.audit(lock, address, none, TODAY) == 0

    assert "NOT AUDITED: no network" in capsys.readouterr().out


def test_one_that_answers_what_is_not_osv_is_no_audit(lock: Path, none: Path) -> None:
    with osv.answering(trouble=404) as (address, _), pytest.raises(AiWorkflowError, match="could not be audited"):
        audit.audit(lock, address, none, TODAY)


def test_a_lock_that_pins_nothing_is_no_audit(none: Path, tmp_path: Path) -> None:
    empty = written(tmp_path / "empty.lock", "# nothing\n")
    with osv.answering() as (address, _), pytest.raises(AiWorkflowError, match="pins no package"):
        audit.audit(empty, address, none, TODAY)


def test_the_command_says_what_is_wrong_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main(["ftp://example.com"]) == 2
    assert "is no address" in capsys.readouterr().err
