"""A version on probation that hangs or crashes is rolled back by its alert; the healthy one is not blamed.

All is real: the service, Prometheus, Alertmanager, the relay, a Prefect server, its automation and a worker.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client

from deploy import automations
from deploy.server import Server
from tests import services
from tests.deploy import durable_server
from tests.flows import prefect_worker
from tests.flows.api import Api
from tests.flows.prefect_worker import Worker
from tests.flows.workplace import Workplace
from tests.monitoring.stack import STABLE, Stack
from tests.serving import shop
from tests.serving.running import dumps
from tests.serving.traffic import Traffic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Server]]:
    """A running stack whose breaches start the deployments `reaction` and `promotion`."""
    folder = tmp_path_factory.mktemp("stack")
    with ExitStack() as stack:
        database = stack.enter_context(services.postgres())
        server = stack.enter_context(durable_server.running(tmp_path_factory.mktemp("server"), database))
        found = stack.enter_context(Stack(folder, ("slack",), inference={"deadline_ms": 1000}).running())
        client = stack.enter_context(get_client(sync_client=True))
        place = Workplace(tmp_path_factory.mktemp("worker"))
        _deploy(client, found)
        worker = Worker.of(
            place, "-m", "prefect", "worker", "start", "--pool", prefect_worker.POOL, "--type", "process",
            PREFECT_WORKER_QUERY_SECONDS="1", AIW_STORE=str(found.root),
        )  # fmt: skip
        stack.callback(worker.kill)
        yield found, Server(server.api_url)


def _deploy(client: SyncPrefectClient, stack: Stack) -> None:
    given = {"config": str(stack.folder / "shop.yaml"), "overrides": {"store.root": str(stack.root)}}
    prefect_worker.deploy(client, "promotion", given)
    reaction = prefect_worker.deploy(client, "reaction", given)
    need = automations.Needs(None, reaction, timedelta(hours=1))
    client.create_automation(automations.wanted(need)[-1])


@contextmanager
def repeated(stack: Stack, version: str, sent: signal.Signals) -> Iterator[None]:
    """Send a signal to each process of a version until the context ends."""
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.2):
            pid = stack.service.workers().get(version)
            if pid:
                try:
                    os.kill(pid, sent)
                except ProcessLookupError:
                    continue

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()


@pytest.mark.parametrize("sent", [signal.SIGSTOP, signal.SIGKILL])
def test_a_version_on_probation_that_hangs_or_crashes_is_rolled_back(
    loop: tuple[Stack, Server], sent: signal.Signals
) -> None:
    stack, server = loop
    registry = shop.registry(stack.root)
    if registry.aliases()["latest"] == STABLE:
        shop.publish(stack.root, 2)
    bad = str(registry.aliases()["latest"])
    stack.until(lambda: bad in stack.service.workers(), "the process of the version on probation", 180)

    with Traffic(stack.service.port, dumps([shop.ROW]), rate=20), repeated(stack, bad, sent):
        stack.until(lambda: registry.aliases()["latest"] == STABLE, "the rollback", 180)

    line = registry.history()[-1]
    assert (line["action"], line["versions"]) == ("rollback", [bad])
    # The server acts on an event before it writes it.
    stack.until(lambda: _breaches(server, bad), "the event")
    for breach in _breaches(server, bad):
        assert breach["resource"]["ai-workflow.pipeline"] == shop.PIPELINE
        assert breach["payload"]["trace_id"], breach["payload"]["alert"]
    # It may be slow on a busy machine, which the latency SLO says; it does not fail.
    assert [one for one in _breaches(server, STABLE) if one["resource"]["ai-workflow.slo"] == "model"] == []


def test_a_stable_version_that_fails_is_not_rolled_back(loop: tuple[Stack, Server]) -> None:
    stack, server = loop
    registry = shop.registry(stack.root)
    before = registry.aliases()
    assert before == {"latest": STABLE, "stable": STABLE}
    stack.until(lambda: STABLE in stack.service.workers(), "its process")

    with Traffic(stack.service.port, dumps([shop.ROW]), rate=20), repeated(stack, STABLE, signal.SIGSTOP):
        stack.until(lambda: _breaches(server, STABLE), "the breach", 120)
        stack.until(lambda: _decided(server, STABLE), "the end of the reaction", 120)

    assert registry.aliases() == before


def _breaches(server: Server, version: str) -> list[dict[str, Any]]:
    return [
        one
        for one in Api(server).all("events")
        if one["event"] == "ai-workflow.slo.breached" and one["resource"]["ai-workflow.model_version"] == version
    ]


def _decided(server: Server, version: str) -> list[dict[str, Any]]:
    """Return the runs of the reaction flow for a version that have ended well."""
    return [
        run
        for run in Api(server).all("flow_runs")
        if run["parameters"].get("model_version") == version and run["state_type"] == "COMPLETED"
    ]
