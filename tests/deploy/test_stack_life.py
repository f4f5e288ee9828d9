"""`make up DB=postgresql` with a login: all is up, what dies comes back, and `make down` leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ai_workflow.local.stack import processes
from ai_workflow.local.stack.services import POSTGRESQL, SERVICES
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.journal import RESUMED, Event, Journal
from tests import services
from tests.deploy.running_stack import RunningStack, in_folder, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SECRETS = {
    "PREFECT_LOGIN": "operator:login-0815", "INFERENCE_TOKEN": "inference-0815", "RELAY_TOKEN": "relay-0815",
    "INFERENCE_ADMIN_TOKEN": "admin-0815", "INFERENCE_LABEL_TOKEN": "label-0815",
    "MONITORING_PASSWORD": "monitoring-0815",
}  # fmt: skip
SITE = {
    "service": {
        "token": "${secret:inference-token}",
        "admin_token": "${secret:inference-admin-token}",
        "label_token": "${secret:inference-label-token}",
    },
    "relay": {"token": "${secret:relay-token}"},
    # A worker reports a crash twice, but not one that was ended with it.
    "recovery": {"settle_seconds": 1},
}
LONG = {"trainer.steps": 100_000, "trainer.checkpoint.every_steps": 200, "trainer.params.learning_rate": 0.0001}


@pytest.fixture(scope="module")
def stack() -> Iterator[RunningStack]:
    for program in ("prometheus", "alertmanager"):
        service = next(service for service in SERVICES if service.name == program)
        if service.program is None:
            pytest.skip(f"no {service.title}: {service.install}")
    services.postgres_binaries()
    with services.open_folder() as folder, in_folder(folder, SITE, **SECRETS) as found:
        said = found.up("--database", "postgresql")
        assert f"{found.url('server')}\n" in said
        assert "deployment training/training: made" in said
        yield found


def test_all_services_run_and_are_scraped(stack: RunningStack) -> None:
    status = stack.command("status")
    assert status.returncode == 0, status.stdout
    assert stack.pids().keys() == {POSTGRESQL.name, *(service.name for service in SERVICES)}
    until(lambda: _jobs_up(stack), lambda found: len(found) == 5)


def test_second_up_reports_running_stack_and_rejects_other_options(stack: RunningStack) -> None:
    before = stack.pids()

    assert "it runs already" in stack.up("--database", "postgresql")
    other = stack.command("up", "--offset", "1")
    assert other.returncode == 2
    assert "it runs already, with other values of DB, OFFSET. " in other.stderr
    changed = stack.command("up", "--offset", str(stack.options.offset), "--database", "postgresql", RELAY_TOKEN="r-1")
    assert (changed.returncode, changed.stdout) == (2, "")
    assert "with other values of RELAY_TOKEN. Nothing was changed. Run make down, then make up" in changed.stderr
    assert stack.pids() == before


def test_services_reject_requests_without_login_or_token(stack: RunningStack) -> None:
    def status(name: str, path: str, **headers: str) -> int:
        return httpx.get(f"{stack.url(name)}{path}", headers=headers, trust_env=False, timeout=60).status_code

    assert status("server", "/api/admin/version") == 401
    assert status("service", "/v2") == 401
    assert status("service", "/v2", Authorization="Bearer inference-0815") == 200
    posted = httpx.post(f"{stack.url('relay')}/prefect", json={}, trust_env=False, timeout=60)
    assert posted.status_code == 401


@pytest.mark.parametrize("path", ["prometheus/api/v1/query?query=up", "alertmanager/api/v2/silences"])
@pytest.mark.parametrize("way", ["-guard", ""])
def test_prometheus_and_alertmanager_require_login(stack: RunningStack, path: str, way: str) -> None:
    name, _, rest = path.partition("/")
    url = f"{stack.url(name + way)}/{rest}"
    # Programs log in at the server itself by another name, which no browser has a login for.
    own, other = ("operator", "guard") if way else ("guard", "operator")

    def status(*login: str) -> int:
        return httpx.get(url, auth=login or None, trust_env=False, timeout=60).status_code  # type: ignore[arg-type]

    assert status(own, "monitoring-0815") == 200
    assert [status(), status(own, "wrong"), status(own, ""), status("", "monitoring-0815")] == [401] * 4
    assert way or status(other, "monitoring-0815") == 401
    assert httpx.get(url, headers={"host": "elsewhere.example"}, trust_env=False, timeout=60).status_code == (
        403 if way else 401
    )


def test_prometheus_alert_reaches_alertmanager(stack: RunningStack) -> None:
    url = f"{stack.url('alertmanager-guard')}/api/v2/alerts"

    found = until(lambda: httpx.get(url, auth=stack.login, trust_env=False, timeout=60).json())
    links = {each["generatorURL"].partition("/graph")[0] for each in found}
    assert links == {stack.url("prometheus-guard")}


def test_command_lines_contain_no_secret(stack: RunningStack) -> None:
    shown = {name: Path(f"/proc/{pid}/cmdline").read_bytes() for name, pid in stack.pids().items()}

    assert [name for name, line in shown.items() if any(value.encode() in line for value in SECRETS.values())] == []


def test_only_prefect_clients_have_login_in_environment(stack: RunningStack) -> None:
    for name, pid in stack.pids().items():
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        knows = b"login-0815" in environment
        assert knows == (name in ("server", "worker", "exporter", "relay")), name


def test_secrets_are_stored_only_in_owner_readable_files(stack: RunningStack) -> None:
    bearing = [
        path
        for path in stack.place.folder.rglob("*")
        if path.is_file() and any(value.encode() in path.read_bytes() for value in SECRETS.values())
        and POSTGRESQL.name not in path.parts
    ]  # fmt: skip
    assert {path.name for path in bearing} == {"inference-token", "relay-token", "monitoring-password-given"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in bearing)


def test_killed_services_are_restarted(stack: RunningStack) -> None:
    before = stack.pids()

    for pid in before.values():
        os.kill(pid, signal.SIGKILL)

    after = until(
        stack.pids, lambda found: found.keys() == before.keys() and not set(before.values()) & set(found.values())
    )
    assert after.keys() == before.keys()
    until(lambda: stack.command("status").returncode, lambda code: code == 0)


@pytest.mark.soak
def test_training_resumes_after_worker_and_supervisor_kill(stack: RunningStack) -> None:
    run_id = _train(stack, seed=1)
    before, found = stack.pids(), stack.place.read_state()
    assert found
    os.kill(found.manager.pid, signal.SIGKILL)
    os.kill(before["worker"], signal.SIGKILL)

    status = until(lambda: stack.command("status"), lambda done: "process manager of the stack has died" in done.stdout)
    assert status.returncode == 3
    assert "of a stack whose process manager is gone" in stack.up("--database", "postgresql")
    assert not {*before.values()} & {*stack.pids().values()}
    stack.prefect("deployment", "run", "recovery/recovery", "--watch")
    until(lambda: any(event.status == RESUMED for event in _events(stack)))
    stack.prefect("flow-run", "cancel", run_id)


def test_down_during_training_leaves_only_saved_data(stack: RunningStack) -> None:
    _train(stack, seed=2)

    assert stack.down() == "The stack has stopped\n"

    assert processes.find(stack.place.folder) == []
    assert not stack.place.socket.exists()
    assert not list(stack.place.folder.glob("*/*-token"))
    assert not stack.place.password()
    assert not list(stack.place.folder.glob("*/web.yml"))
    assert all(services.is_free(service.port + stack.options.offset) for service in SERVICES if service.port)
    assert stack.command("status").returncode == 3
    assert list(stack.place.var.glob("checkpoints/**/model_step_*"))
    assert (stack.place.data_folder(POSTGRESQL) / "data" / "PG_VERSION").exists()


def _train(stack: RunningStack, seed: int) -> str:
    """Start a training that takes long, wait for its first checkpoint, and return its run."""
    known = {*stack.place.var.glob("checkpoints/**/model_step_*")}
    given = json.dumps(LONG | {"trainer.seed": seed})
    said = stack.prefect("deployment", "run", "training/training", "--param", f"overrides={given}")
    until(lambda: {*stack.place.var.glob("checkpoints/**/model_step_*")} - known)
    return next(word for word in said.split() if word.count("-") == 4 and len(word) == 36)


def _jobs_up(stack: RunningStack) -> set[str]:
    asked = httpx.get(
        f"{stack.url('prometheus-guard')}/api/v1/query",
        params={"query": "up == 1"},
        auth=stack.login,
        trust_env=False,
        timeout=60,
    )
    return {each["metric"]["job"] for each in asked.json()["data"]["result"]}


def _events(stack: RunningStack) -> list[Event]:
    journal = Journal(Store(stack.place.var))
    return [event for trace_id in journal.trace_ids() for event in journal.read(trace_id)]
