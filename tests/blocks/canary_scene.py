"""A guarded Prefect server, runs on it, the service and the relay: all that is given secrets, and all that it leaves.

All ten are put to use but the key of an object store, which only stands in the environment of what runs.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient, get_client
from psycopg import sql

from ai_workflow.provisioning.blocks.chat_channel import ChatChannel
from tests.blocks import guarded
from tests.blocks.guarded import Guarded
from tests.flows import sample_tables
from tests.flows.prefect_api import until
from tests.flows.prefect_worker import Worker, deploy
from tests.flows.workspace import Workplace
from tests.monitoring.relay import fake_vendors
from tests.monitoring.relay.running_relay import RunningRelay, alert
from tests.services import Postgres
from tests.serving import published_models
from tests.serving.running_service import Running

TABLE, READER = "canary_rows", "canary_reader"
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


@contextmanager
def played(postgres: Postgres, folder: Path) -> Iterator[Scene]:
    """Two runs of a deployment by a worker, one of which cannot log in to its table; then service and relay."""
    values = {name: f"canary-{secrets.token_hex(12)}" for name in (
        "the login of Prefect", "the token of the service", "the token of its administrator", "the token of the relay",
        "the address of a chat", "the signature of a chat", "a key of an object store", "the password of a table",
        "the wrong password of a table",
    )}  # fmt: skip
    with guarded.running(folder, values["the login of Prefect"]) as server, pytest.MonkeyPatch.context() as patch:
        values["the key of Prefect's secrets"] = server.key
        patch.setenv("AWS_SECRET_ACCESS_KEY", values["a key of an object store"])
        found = Scene(values, server, _place(folder, postgres, values["the password of a table"]), [])
        _train(found)
        _serve(found, folder)
        _relay(found, folder)
        yield found


def _place(folder: Path, postgres: Postgres, password: str) -> Workplace:
    """Lay a table, an account that may read it and nothing else, and two pipelines: one knows its password."""
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {TABLE} (row_id text PRIMARY KEY, age float, kind text, seen date, good int)")
        rows = [[row[0], float(row[1]) if row[1] else None, *row[2:]] for row in sample_tables.rows()]
        cursor.executemany(f"INSERT INTO {TABLE} VALUES (%s, %s, %s, %s, %s)", rows)
        cursor.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(READER), password))
        cursor.execute(f"GRANT SELECT ON {TABLE} TO {READER}")
    (folder / "place").mkdir()
    place = Workplace(folder / "place")
    for name, block in (("good", BLOCK), ("bad", f"{BLOCK}-wrong")):
        address = {"host": postgres.host, "port": postgres.port, "username": READER}
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
    published_models.publish(root, 0)
    names = {"token": "the token of the service", "admin_token": "the token of its administrator"}
    pipeline = published_models.pipeline(
        folder, service={"token": "${secret:inference-token}", "admin_token": "${secret:inference-admin-token}"}
    )
    tokens = {name: scene.canaries[what] for name, what in names.items()}
    for name, token in tokens.items():
        Secret(value=token).save(f"inference-{name.replace('_', '-')}")  # type: ignore[arg-type]
    with Running(pipeline, root, program=("-m", "ai_workflow", "serve")) as service:

        def asked(token: str, path: str, body: object) -> int:
            return service.http.post(path, json=body, headers={"authorization": f"Bearer {token}"}).status_code

        debug = {"level": "DEBUG", "seconds": 60}
        if asked(tokens["admin_token"], "/admin/log-level", debug) == 200:
            scene.used.add("administrator")
        assert asked("wrong", "/predict", {"rows": [published_models.ROW]}) == 401
        assert asked(tokens["token"], "/admin/log-level", debug) == 401, "each token has its own doors"
        if asked(tokens["token"], "/predict", {"rows": [published_models.ROW]}) == 200:
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
            if "slack" in answer.json()["delivered"]:
                scene.used.add("relay")
            # That address is nobody's, so that its failure is told as well.
            if "guarded" in answer.json()["failed"]:
                scene.used.add("chat")
            answered = (
                answer.text
                + httpx.get(
                    f"{relay.http.base_url}/metrics", headers=relay.http.headers, trust_env=False, timeout=60
                ).text
            )
        scene.printed["the relay"] = "".join(relay.log) + answered + "".join(vendors.texts("slack"))
