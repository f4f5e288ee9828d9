"""Ten secrets are given to runs, service and relay of a guarded Prefect, and are found in nothing that they leave.

And what docs/security.md says of such a server is tried on it: what a login, CSRF tokens and a key of its own keep.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import httpx
import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.schedules import IntervalSchedule

from ai_workflow.exporter.prefect_schedules import PrefectRequestError, PrefectSchedules
from tests.blocks import canary_scene
from tests.blocks.canary_scene import BLOCK, Scene
from tests.blocks.guarded import Guarded, GuardedApi
from tests.flows.prefect_api import EVERYTHING, until
from tests.services import Postgres

# A server, a worker, two runs, the service and the relay.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
VALUE = "canary-of-the-guarded-one"
ROUTES = ("block_documents/filter", "deployments/filter", "flow_runs/filter", "logs/filter", "variables/filter")
HOUR = timedelta(hours=1)
MORE = ("task_run_states", "work_pools", "work_queues", "automations", "block_types", "block_schemas")


@pytest.fixture(scope="module")
def scene(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """All that is given secrets, and all that it leaves."""
    with canary_scene.played(postgres, tmp_path_factory.mktemp("canaries")) as found:
        yield found


@pytest.fixture(scope="module")
def server(scene: Scene) -> Guarded:
    """The guarded server of the scene; it keeps one secret more."""
    Secret(value=VALUE).save("kept")  # type: ignore[arg-type]
    return scene.server


def test_canary_secrets_are_used_by_all_components(scene: Scene) -> None:
    assert len(set(scene.canaries.values())) == 10
    assert scene.states == ["COMPLETED", "FAILED"]
    assert scene.used == {"service", "administrator", "relay", "chat"}
    assert "150 records loaded" in scene.printed["the worker"]
    assert "password authentication failed" in scene.printed["the worker"]


def test_prefect_api_responses_contain_no_secret(scene: Scene) -> None:
    api = GuardedApi(scene.server)
    until(lambda: [text for text in [api.text("logs")] if "150 records loaded" in text])

    told = {what: api.text(what) for what in (*EVERYTHING, *MORE)}

    assert all(told[what] for what in ("logs", "artifacts", "flow_runs", "task_runs", "events", "deployments"))
    assert BLOCK in told["block_documents"]
    assert _holding(scene, told) == []
    assert _holding(scene, told | {"a control": f"x{scene.canaries['the token of the relay']}x"})


def test_process_output_contains_no_secret(scene: Scene) -> None:
    assert set(scene.printed) == {"the worker", "the service", "the relay"}
    assert all(scene.printed.values())
    assert _holding(scene, scene.printed) == []


def test_stored_files_contain_no_secret(scene: Scene) -> None:
    roots = (scene.place.var, scene.server.home)
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    assert {"journal", "results", "data", "models"} <= {path.name for path in scene.place.var.iterdir()}
    assert {"prefect.db", "server.log"} <= {path.name for path in files}

    told = {str(path): path.read_bytes().decode("latin-1") for path in files}
    assert _holding(scene, told) == []


def test_unauthenticated_requests_reach_only_health_check(server: Guarded) -> None:
    with server.client(csrf=True) as client:
        codes = {route: client.post(f"/{route}", json={"include_secrets": True}).status_code for route in ROUTES}
        assert codes == dict.fromkeys(ROUTES, 401)
        assert client.get("/admin/settings").status_code == 401
        assert client.get("/csrf-token", params={"client": "stranger"}).status_code == 401
        assert client.get("/health").status_code == 200


def test_wrong_password_is_rejected(server: Guarded) -> None:
    with server.client(csrf=True) as client:
        assert client.post("/flows/filter", json={}, auth=("operator", "guess")).status_code == 401


def test_authenticated_write_without_csrf_token_is_rejected(server: Guarded) -> None:
    with server.client(csrf=False) as client:
        refused = client.post("/variables/", json={"name": "forged", "value": "x"}, auth=server.login)
    assert refused.status_code == 403
    assert "forged" not in GuardedApi(server).text("variables")


def test_database_contains_no_plaintext_secret_or_key(server: Guarded) -> None:
    kept = b"".join(path.read_bytes() for path in server.home.glob("prefect.db*"))

    assert VALUE.encode() not in kept
    assert server.key.encode() not in kept
    with closing(sqlite3.connect(server.home / "prefect.db")) as connection:
        keys = connection.execute("SELECT count(*) FROM configuration WHERE key = 'ENCRYPTION_KEY'").fetchone()
    assert keys == (0,)


def test_authenticated_user_can_read_every_secret(server: Guarded) -> None:
    """There are no roles in Prefect's own server: docs/security.md says so, and what follows from it."""
    api = GuardedApi(server)

    assert VALUE not in api.text("block_documents")
    assert VALUE in "".join(str(one) for one in api.all("block_documents", include_secrets=True))


def test_server_settings_response_contains_no_secret(server: Guarded) -> None:
    told = httpx.get(f"{server.server.api_url}/admin/settings", auth=server.login, trust_env=False, timeout=60).text

    assert server.password not in told
    assert server.key not in told


def test_exporter_reads_schedules_with_login_and_reports_missing_login(server: Guarded) -> None:
    with get_client(sync_client=True) as client:
        flow = client.create_flow_from_name("scoring")
        client.create_deployment(flow, "guarded", schedules=[{"schedule": IntervalSchedule(interval=HOUR)}])
    asking = PrefectSchedules(server.server.api_url, os.environ, lambda *_: "sample")
    stranger = PrefectSchedules(server.server.api_url, {}, lambda *_: "sample")

    assert "PREFECT_API_AUTH_STRING" in os.environ
    assert asking.expected() == {("sample", "scoring"): 3600}
    with pytest.raises(PrefectRequestError, match=r"401.*PREFECT_API_AUTH_STRING"):
        stranger.expected()


def test_blocks_register_command_works_with_login(server: Guarded) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ai_workflow", "blocks", "register"],
        env=os.environ | {"RELAY_TOKEN": VALUE}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "relay-token: made" in done.stdout
    assert VALUE not in done.stdout + done.stderr


def _holding(scene: Scene, told: dict[str, str]) -> list[str]:
    return [
        f"{name} is in {where}"
        for where, text in told.items()
        for name, value in scene.canaries.items()
        if value in text
    ]
