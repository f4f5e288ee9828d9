"""Every automation, made to happen: a real server, worker and relay; only the chat vendor is made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import AwaitingRetry, Crashed, Failed, Pending, Scheduled

from ai_workflow.local.server import Server
from ai_workflow.registry import publication
from flows.drill import MESSAGE
from tests import services
from tests.deploy import broken_deployment, durable_server
from tests.flows import sample_tables
from tests.flows.prefect_api import Api
from tests.flows.prefect_runs import in_training
from tests.flows.prefect_worker import Worker
from tests.flows.workspace import ROOT, Workplace
from tests.monitoring.relay import fake_vendors
from tests.monitoring.relay.fake_vendors import Vendors
from tests.monitoring.relay.running_relay import LIVELY, TOKEN, RunningRelay, alert, until
from tests.patience import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
LONG = sample_tables.PIPELINE["trainer"] | {"steps": 5000, "checkpoint": {"every_steps": 10, "keep": 2}}


@dataclass
class House:
    """All that runs, and what was set off in it."""

    place: Workplace
    server: Server
    client: SyncPrefectClient
    relay: RunningRelay
    vendors: Vendors
    deployments: dict[str, Any] = field(default_factory=dict)
    worker: Any = None

    @property
    def settings(self) -> Path:
        """The file of settings that differ from the usual ones."""
        return self.place.folder / "settings.yaml"

    def told(self, *parts: str) -> list[str]:
        """Return the messages in chat that hold all of these."""
        return [text for text in self.vendors.texts("slack") if all(part in text for part in parts)]

    def run(self, deployment: str, name: str, **parameters: Any) -> FlowRun:
        """Make a run of a deployment."""
        return self.client.create_flow_run_from_deployment(
            self.deployments[deployment], name=name, parameters=parameters
        )

    def set_state(self, deployment: str, name: str, state: State[Any]) -> UUID:
        """Make a run that is in a state already."""
        run = self.client.create_flow_run_from_deployment(
            self.deployments[deployment],
            name=name,
            state=Scheduled(scheduled_time=datetime.now(UTC) + timedelta(days=1)),
        )
        self.client.set_flow_run_state(run.id, state, force=True)
        return run.id

    def state(self, run_id: str) -> StateType | None:
        """Return the state of a run."""
        found = self.client.read_flow_run(UUID(run_id)).state
        return found.type if found else None

    def runs(self, deployment: str, tag: str | None = None) -> list[dict[str, Any]]:
        """Return the runs of a deployment, those with a tag if one is given."""
        found = Api(self.server).all("flow_runs", deployments={"name": {"any_": [deployment]}})
        return [run for run in found if not run["auto_scheduled"] and (tag is None or tag in run["tags"])]

    def eventually(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; say what the server, the relay and the worker say where it does not."""
        try:
            until(holds, PATIENCE)
        except AssertionError:
            failed = [
                one["payload"] for one in Api(self.server).all("events") if one["event"].endswith("action.failed")
            ]
            said = [*map(str, failed), *self.relay.log[-20:], *self.vendors.texts("slack")]
            raise AssertionError("\n".join(["it never came to hold", *said, self.worker.output()[-3000:]])) from None

    def breach(self, fingerprint: str, **labels: str) -> None:
        """Let Alertmanager tell the relay of a breach."""
        self.relay.post(alert(fingerprint, **{"pipeline": "small_credit", **labels}), group=fingerprint)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A bootstrapped server with a relay; a worker serves the queues `first` and `later`, and none `soon`."""
    place, folder = Workplace(tmp_path_factory.mktemp("house")), tmp_path_factory.mktemp("relay")
    for seed in (1, 2):
        sample_tables.write(place.folder / f"rows-{seed}.csv", sample_tables.rows(seed=seed))
    source = {"kind": "csv", "path": str(place.folder / "rows-*.csv")}
    place.configure(source=source)
    place.configure("long.yaml", source=source, trainer=LONG)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS", "2")
        patch.setenv("PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS", "2")
        # SQLite hands events on too slowly where the machine has other work, and all here are about events.
        database = stack.enter_context(services.postgres())
        running = stack.enter_context(durable_server.running(tmp_path_factory.mktemp("server"), database))
        server = Server(running.api_url)
        vendors = stack.enter_context(fake_vendors.running(folder))
        relay = stack.enter_context(RunningRelay(folder, [vendors.channel("slack", **LIVELY)]))
        house = House(place, server, stack.enter_context(get_client(sync_client=True)), relay, vendors)
        _bootstrap(house)
        _killed_in_training(house)
        for number in (1, 2):
            house.run("scoring", f"late-{number}-of-a-test")
        house.worker = _worker(house)
        stack.callback(house.worker.kill)
        assert place.train().code == 0
        _publish_another(place)
        yield house


def _bootstrap(house: House) -> None:
    settings = {
        "relay": {"token": TOKEN},
        "deploy": {"relay_url": f"http://127.0.0.1:{house.relay.port}/prefect"},
        "recovery": {"heartbeat_seconds": 15, "settle_seconds": 4, "max_attempts": 1},
        "reactions": {"training_per_day": 1, "promotion_per_day": 1},
    }
    house.settings.write_text(yaml.safe_dump(settings))
    # Without schedules: recovery would find the killed run first, and the automation is for where there is none.
    folder = house.place.folder
    whole = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    whole["deployments"] = [one | {"schedules": []} for one in whole["deployments"]]
    (folder / "prefect.yaml").write_text(yaml.safe_dump(whole))
    (folder / "flows").symlink_to(ROOT / "flows")
    asked = ["-m", "ai_workflow", "deploy", "prefect.yaml", "--pipeline", "pipeline.yaml"]
    done = house.place.start(asked, AIW_CONFIG=str(house.settings))
    assert done.code == 0, done.output
    assert "automation ai-workflow: slo breached: made" in done.output
    house.deployments = {one["name"]: one["id"] for one in Api(house.server).all("deployments")}


def _killed_in_training(house: House) -> None:
    run = house.run("training", "killed-of-a-test", config=str(house.place.folder / "long.yaml"))
    house.client.set_flow_run_state(run.id, Pending(), force=True)
    process = Worker.of(house.place, "-m", "prefect.engine", str(run.id), PREFECT__FLOW_RUN_ID=str(run.id))
    in_training(house.place, str(run.id))
    process.kill()


def _publish_another(place: Workplace) -> None:
    found = place.registry.get("latest")
    files = {name: place.registry.read(found, name) for name in found.manifest["files"]}
    about = {name: found.manifest[name] for name in ("kind", "model_file", "scores")}
    publication.publish(place.registry, files, found.manifest["schema"], about)


def _worker(house: House) -> Worker:
    asked = ("worker", "start", "--pool", "ai-workflow", "--work-queue", "first", "--work-queue", "later")
    quick = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_WORKER_HEARTBEAT_SECONDS": "2"}
    return Worker.of(house.place, "-m", "prefect", *asked, AIW_CONFIG=str(house.settings), **quick)


def test_failed_run_is_notified(house: House) -> None:
    house.set_state("training", "fails-of-a-test", Failed(message="trainer: out of memory"))
    house.eventually(lambda: bool(house.told("fails-of-a-test", "trainer: out of memory")))


def test_repeatedly_crashed_run_is_notified_once(house: House) -> None:
    run_id = house.set_state("training", "crashes-of-a-test", Crashed(message="signature mismatch"))
    for state in (AwaitingRetry(), Crashed(message="given up after 3 attempts")):
        house.client.set_flow_run_state(run_id, state, force=True)
    house.set_state("training", "after-the-crashes", Crashed(message="exit code 1"))
    house.eventually(lambda: bool(house.told("after-the-crashes", "exit code 1")))
    assert len(house.told("crashes-of-a-test")) == 1


def test_drill_notification_reaches_chat(house: House) -> None:
    done = house.place.start(["-m", "ai_workflow", "run", "drill", "--pipeline", "pipeline.yaml"])
    assert done.code == 0, done.output
    house.eventually(lambda: bool(house.told(MESSAGE)))


def test_breach_on_probation_rolls_back_and_notifies(house: House) -> None:
    house.breach("f1", slo="latency", model_version="model_v1.1")
    house.eventually(lambda: house.place.registry.aliases()["latest"] == "model_v1.0")
    line = house.place.registry.history()[-1]
    assert (line["action"], line["versions"]) == ("rollback", ["model_v1.1"])
    assert "2.13 %" in line["reason"]
    house.eventually(lambda: bool(house.told("the roll-back of model_v1.1 was started, 1 of 1 today")))
    assert not house.runs("training", "reaction")


def test_accuracy_breach_starts_training_within_daily_limit(house: House) -> None:
    house.breach("f2", slo="accuracy", model_version="model_v1.0")
    house.eventually(lambda: bool(house.told("a training was started, 1 of 1 today")))
    [run] = house.runs("training", "reaction")
    house.eventually(lambda: house.state(run["id"]) == StateType.COMPLETED)
    # An alert that names no version, after the training.
    house.breach("f3", slo="accuracy", model_version="")
    house.eventually(lambda: bool(house.told("a training was NOT started: 1 a day are allowed")))
    assert [one["id"] for one in house.runs("training", "reaction")] == [run["id"]]


def test_late_runs_are_notified_once_per_deployment(house: House) -> None:
    house.eventually(lambda: bool(house.told("of-a-test", "Late")))
    house.eventually(lambda: {one["state_name"] for one in house.runs("scoring")} == {"Late"})
    house.set_state("training", "after-the-late-ones", Failed(message="x"))
    house.eventually(lambda: bool(house.told("after-the-late-ones")))
    assert len(house.told("late-", "of-a-test")) == 1


def test_run_without_heartbeat_is_marked_crashed_and_notified(house: House) -> None:
    [run] = [one for one in house.runs("training") if one["name"] == "killed-of-a-test"]
    house.eventually(lambda: house.state(run["id"]) == StateType.CRASHED)
    house.eventually(lambda: bool(house.told("killed-of-a-test", "no heartbeat for 30 s")))


@pytest.mark.soak
def test_broken_deployment_is_retried_within_limit_and_notified_once(house: House) -> None:
    # Recovery would give all others that crashed another try, too.
    for one in house.runs("training"):
        house.client.delete_flow_run(one["id"])
    run_id = broken_deployment.run(house.client, house.deployments["training"], "broken-of-a-test")
    for _ in range(2):
        house.eventually(lambda: house.state(str(run_id)) == StateType.CRASHED)
        recovery = house.run("recovery", "sees-to-the-broken-one", config=str(house.place.folder / "pipeline.yaml"))
        house.eventually(lambda: house.state(str(recovery.id)) == StateType.COMPLETED)  # noqa: B023 - called at once
    ended = house.client.read_flow_run(run_id).state
    assert ended is not None
    assert (ended.message or "").startswith("given up after 1 attempts")
    processes = [state for state in house.client.read_flow_run_states(run_id) if state.name == "Submitting"]
    assert len(processes) == 2, "the first, and one more attempt"
    house.set_state("training", "after-the-broken-one", Failed(message="x"))
    house.eventually(lambda: bool(house.told("after-the-broken-one")))
    assert len(house.told("broken-of-a-test")) == 1


def test_missing_worker_is_notified(house: House) -> None:
    house.worker.kill()
    house.eventually(lambda: bool(house.told("no worker is online")))
