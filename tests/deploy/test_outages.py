"""`prefect deploy --all` on PostgreSQL, each deployment run; then worker, server and database go in mid-training."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import get_client

from ai_workflow.provisioning import prefect_file, work_pool
from ai_workflow.telemetry import journal
from tests import prefect_retry, services
from tests.deploy import durable_server, every_deployment
from tests.deploy.durable_server import LOGIN, DurableServer
from tests.deploy.every_deployment import Deployed
from tests.deploy.training_counter import TrainersWatched
from tests.flows import sample_tables
from tests.flows.prefect_api import until
from tests.flows.prefect_runs import events, in_training
from tests.flows.prefect_worker import Worker
from tests.flows.workspace import ROOT, Workplace
from tests.patience import PATIENCE
from tests.services import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
# Long enough for an outage in the middle, saved often enough to go on from there.
LONG = sample_tables.PIPELINE["trainer"] | {"steps": 2500, "checkpoint": {"every_steps": 50, "keep": 2}}
# A run of recovery takes five seconds of CPU time: more of them than a busy machine can run leave none for training.
RECOVERY_SECONDS = 30


@dataclass
class Scene:
    """All that runs."""

    place: Workplace
    postgres: Postgres
    server: DurableServer
    deployed: Deployed
    worker: Worker

    def supervise(self) -> None:
        """Start a worker where none is, as whatever keeps it running does."""
        if not self.worker.is_alive():
            self.worker = _worker(self.place)

    def without_process(self) -> list[str]:
        """Return the runs and tasks that are said to be at work; where nothing is, these have no process."""
        found: list[dict[str, Any]] = []
        state = {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}
        for what in ("flow_runs", "task_runs"):
            reply = self.deployed.api.post(f"/{what}/filter", json={what: {"state": state}})
            found += reply.raise_for_status().json()
        return [f"{one['name']} {one['state_name']}" for one in found]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A server with a login on PostgreSQL, deployed to by Prefect's own command, and a worker."""
    place = every_deployment.furnish(Workplace(tmp_path_factory.mktemp("place")))
    place.configure("long.yaml", source={"kind": "csv", "path": str(place.folder / "rows-*.csv")}, trainer=LONG)
    (place.folder / "settings.yaml").write_text(yaml.safe_dump({"recovery": {"settle_seconds": 4}}))
    usual = (ROOT / "prefect.yaml").read_text()
    (place.folder / "prefect.yaml").write_text(usual.replace("{interval: 60,", f"{{interval: {RECOVERY_SECONDS},"))
    (place.folder / "flows").symlink_to(ROOT / "flows")
    folder = tmp_path_factory.mktemp("server")
    with services.postgres() as postgres, durable_server.running(folder, postgres, LOGIN) as server:
        asyncio.run(_pool(place.folder / "prefect.yaml"))
        done = place.start(["-m", "prefect", "--no-prompt", "deploy", "--all"])
        assert done.code == 0, done.output
        login = tuple(LOGIN.split(":"))
        with prefect_retry.client(server.api_url, auth=login) as api:
            deployed = Deployed(api)
            deployed.pause_schedules()
            scene = Scene(place, postgres, server, deployed, _worker(place))
            try:
                yield scene
            finally:
                scene.worker.kill()


async def _pool(file: Path) -> None:
    async with get_client() as client:
        await work_pool.apply(client, prefect_file.read(file)[0])


def _worker(place: Workplace) -> Worker:
    return every_deployment.worker(place, AIW_CONFIG=str(place.folder / "settings.yaml"))


def test_every_deployment_completes_on_postgresql(scene: Scene) -> None:
    named = {one["name"] for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    assert set(scene.deployed.all()) == named
    ended = scene.deployed.run_each(scene.place)
    assert ended == dict.fromkeys(named, "COMPLETED"), scene.worker.output()[-3000:]


def _stop_the_worker(scene: Scene) -> None:
    scene.worker.stop()


def _kill_the_server(scene: Scene) -> None:
    limits, api = "/v2/concurrency_limits", scene.deployed.api
    api.post(f"{limits}/", json={"name": "of-a-test", "limit": 1}).raise_for_status()
    held = api.post(
        f"{limits}/increment-with-lease", json={"names": ["of-a-test"], "slots": 1, "lease_duration": 200}
    ).raise_for_status()
    scene.server.kill()
    scene.server.start()
    # Else what was killed with it would keep its slot for good, and its deployment would never run again.
    lease = held.json()["lease_id"]
    api.post(f"{limits}/leases/{lease}/renew", json={"lease_duration": 200}).raise_for_status()


def _restart_the_database(scene: Scene) -> None:
    scene.postgres.restart()


@pytest.mark.parametrize(
    ("seed", "outage"),
    [
        pytest.param(1, _stop_the_worker, marks=pytest.mark.soak),
        (2, _kill_the_server),
        pytest.param(3, _restart_the_database, marks=pytest.mark.soak),
    ],
)
def test_training_completes_despite_worker_server_or_database_outage(
    scene: Scene, seed: int, outage: Callable[[Scene], None]
) -> None:
    given = {"config": str(scene.place.folder / "long.yaml"), "overrides": {"trainer.seed": seed}}
    run_id = scene.deployed.start("training", **given)
    with TrainersWatched(scene.place) as watched:
        in_training(scene.place, run_id)
        outage(scene)
        scene.supervise()
        # Not before: one that is killed in its first second has no lock yet, and counts as Pending for minutes.
        scene.deployed.resume_schedules("recovery")
        ended = scene.deployed.ended(run_id, PATIENCE, even_if_crashed=True)

    told = [f"{event.stage} {event.status} {event.pid} {event.message}" for event in events(scene.place, run_id)]
    assert ended == "COMPLETED", "\n".join([*told, scene.worker.output()[-3000:], scene.server.output()[-3000:]])
    assert max(watched.seen) == 1, f"so many processes trained, so often seen: {watched.seen}"
    trained = [event.status for event in events(scene.place, run_id) if event.stage == "trainer"]
    assert trained[-1] in (journal.SUCCESS, journal.RESUMED)
    assert trained.count(journal.STARTED) == len({line.split()[2] for line in told if line.startswith("trainer")})
    scene.deployed.pause_schedules()
    until(lambda: [True] if not scene.without_process() else [])
