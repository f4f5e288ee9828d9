"""Ten secrets are given to runs, service and relay, and none is found in anything that they leave.

All are put to use but the key of an object store, which only stands in the environment of what runs.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient, get_client

from blocks.chat_channel import ChatChannel
from tests.blocks import guarded
from tests.blocks.guarded import Guarded, GuardedApi
from tests.flows import tables
from tests.flows.api import EVERYTHING, until
from tests.flows.prefect_worker import Worker, deploy
from tests.flows.workplace import Workplace
from tests.monitoring.relay import fake_vendors
from tests.monitoring.relay.running_relay import RunningRelay, alert
from tests.services import Postgres
from tests.serving import shop
from tests.serving.running import Running

# A server, a worker, two runs, the service and the relay.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TABLE = "canary_rows"
BLOCK = "canary-database-password"


@dataclass
class Scene:
    """What was used, and what was left."""

    canaries: dict[str, str]
    server: Guarded
    place: Workplace
    states: list[str]
    printed: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def scene(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two runs of a deployment by a worker, one of which cannot log in to its table; then service and relay."""
    folder = tmp_path_factory.mktemp("canaries")
    values = {name: f"canary-{secrets.token_hex(12)}" for name in (
        "the login of Prefect", "the token of the service", "the token of its administrator", "the token of the relay",
        "the address of a chat", "the signature of a chat", "a key of an object store", "the wrong password of a table",
    )}  # fmt: skip
    values["the password of a table"] = postgres.password
    with guarded.running(folder, values["the login of Prefect"]) as server, pytest.MonkeyPatch.context() as patch:
        values["the key of Prefect's secrets"] = server.key
        patch.setenv("AWS_SECRET_ACCESS_KEY", values["a key of an object store"])
        found = Scene(values, server, _place(folder, postgres), [])
        _train(found)
        _serve(found, folder)
        _relay(found, folder)
        yield found


def test_they_were_put_to_use(scene: Scene) -> None:
    assert len(set(scene.canaries.values())) == 10
    assert scene.states == ["COMPLETED", "FAILED"]
    assert scene.used == {"service", "administrator", "relay", "chat"}
    assert "150 records loaded" in scene.printed["the worker"]
    assert "password authentication failed" in scene.printed["the worker"]


def test_nothing_that_prefect_tells_holds_one(scene: Scene) -> None:
    api = GuardedApi(scene.server)
    until(lambda: [text for text in [api.text("logs")] if "150 records loaded" in text])

    told = {what: api.text(what) for what in (*EVERYTHING, "work_pools", "automations", "block_types", "block_schemas")}

    assert all(told[what] for what in ("logs", "artifacts", "flow_runs", "task_runs", "events", "deployments"))
    assert BLOCK in told["block_documents"]
    assert _holding(scene, told) == []
    assert _holding(scene, told | {"a control": f"x{scene.canaries['the token of the relay']}x"})


def test_nothing_that_is_printed_holds_one(scene: Scene) -> None:
    assert set(scene.printed) == {"the worker", "the service", "the relay"}
    assert all(scene.printed.values())
    assert _holding(scene, scene.printed) == []


def test_no_file_of_store_results_or_server_holds_one(scene: Scene) -> None:
    roots = (scene.place.var, scene.server.home)
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    assert {"journal", "results", "data", "models"} <= {path.name for path in scene.place.var.iterdir()}
    assert {"prefect.db", "server.log"} <= {path.name for path in files}

    told = {str(path): path.read_bytes().decode("latin-1") for path in files}
    assert _holding(scene, told) == []


def _holding(scene: Scene, told: dict[str, str]) -> list[str]:
    return [
        f"{name} is in {where}"
        for where, text in told.items()
        for name, value in scene.canaries.items()
        if value in text
    ]


def _place(folder: Path, postgres: Postgres) -> Workplace:
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {TABLE} (row_id text PRIMARY KEY, age float, kind text, seen date, good int)")
        rows = [[row[0], float(row[1]) if row[1] else None, *row[2:]] for row in tables.rows()]
        cursor.executemany(f"INSERT INTO {TABLE} VALUES (%s, %s, %s, %s, %s)", rows)
    (folder / "place").mkdir()
    place = Workplace(folder / "place")
    for name, block in (("good", BLOCK), ("bad", f"{BLOCK}-wrong")):
        address = {"host": postgres.host, "port": postgres.port, "username": postgres.user}
        database = address | {"password": f"${{secret:{block}}}"}
        place.configure(f"{name}.yaml", source={"kind": "sql", "table": TABLE}, database=database)
    return place


def _train(scene: Scene) -> None:
    for name, value in ((BLOCK, "the password of a table"), (f"{BLOCK}-wrong", "the wrong password of a table")):
        Secret(value=scene.canaries[value]).save(name)  # type: ignore[arg-type]
    with get_client(sync_client=True) as client, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIW_LOG_LEVEL", "DEBUG")
        deployment = deploy(client, "training", {})
        with Worker.start(scene.place) as worker:
            for name in ("good", "bad"):
                parameters = {"config": str(scene.place.folder / f"{name}.yaml"), "log_level": "DEBUG"}
                run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
                scene.states.append(_ended(client, run.id))
            scene.printed["the worker"] = worker.output()


def _ended(client: SyncPrefectClient, run_id: Any) -> str:
    def final() -> list[str]:
        state = client.read_flow_run(run_id).state
        return [state.type.value] if state is not None and state.is_final() else []

    for _ in range(2):  # a busy machine is given twice as long
        try:
            return until(final)[0]
        except AssertionError:
            continue
    return until(final)[0]


def _serve(scene: Scene, folder: Path) -> None:
    root = folder / "store"
    shop.publish(root, 0)
    names = {"token": "the token of the service", "admin_token": "the token of its administrator"}
    pipeline = shop.pipeline(
        folder, service={"token": "${secret:inference-token}", "admin_token": "${secret:inference-admin-token}"}
    )
    variables = {
        "INFERENCE_TOKEN": scene.canaries[names["token"]],
        "INFERENCE_ADMIN_TOKEN": scene.canaries[names["admin_token"]],
    }
    with Running(pipeline, root, **variables) as service:

        def asked(token: str, path: str, body: object) -> int:
            return service.http.post(path, json=body, headers={"authorization": f"Bearer {token}"}).status_code

        debug = {"level": "DEBUG", "seconds": 60}
        if asked(variables["INFERENCE_ADMIN_TOKEN"], "/admin/log-level", debug) == 200:
            scene.used.add("administrator")
        assert asked("wrong", "/predict", {"rows": [shop.ROW]}) == 401
        assert asked(variables["INFERENCE_TOKEN"], "/admin/log-level", debug) == 401, "each token has its own doors"
        if asked(variables["INFERENCE_TOKEN"], "/predict", {"rows": [shop.ROW]}) == 200:
            scene.used.add("service")
    scene.printed["the service"] = "".join(service.log)
    scene.printed["the service"] += "".join(
        path.read_bytes().decode("latin-1") for path in root.rglob("*") if path.is_file()
    )


def _relay(scene: Scene, folder: Path) -> None:
    token = scene.canaries["the token of the relay"]
    with fake_vendors.running(folder) as vendors:
        address = f"http://127.0.0.1:{vendors.port}/{scene.canaries['the address of a chat']}"
        ChatChannel(kind="webhook", url=address, secret=scene.canaries["the signature of a chat"]).save("canary-chat")  # type: ignore[arg-type]
        chat = [{"name": "guarded", "block": "canary-chat"}, vendors.channel("slack")]
        with RunningRelay(folder, chat, {"token": "${secret:relay-token}"}, RELAY_TOKEN=token) as relay:
            assert relay.post(alert()).status_code == 401
            relay.http.headers["authorization"] = f"Bearer {token}"
            answer = relay.post(alert())
            if "slack" in answer.json()["told"]:
                scene.used.add("relay")
            # That address is nobody's, so that its failure is told as well.
            if "guarded" in answer.json()["failed"]:
                scene.used.add("chat")
            answered = (
                answer.text
                + httpx.get(f"{relay.http.base_url}/metrics", headers=relay.http.headers, trust_env=False).text
            )
        scene.printed["the relay"] = "".join(relay.log) + answered + "".join(vendors.texts("slack"))
