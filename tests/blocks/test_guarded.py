"""What docs/security.md says of a guarded Prefect server, tried on a real one."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
from prefect.blocks.system import Secret

from tests.blocks import guarded
from tests.blocks.guarded import Guarded, GuardedApi

# A server of its own.
pytestmark = pytest.mark.slow
VALUE = "canary-of-the-guarded-one"
ROUTES = ("block_documents/filter", "deployments/filter", "flow_runs/filter", "logs/filter", "variables/filter")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A guarded server that keeps one secret."""
    with guarded.running(tmp_path_factory.mktemp("guarded"), "pass-of-the-guarded-one") as found:
        Secret(value=VALUE).save("kept")  # type: ignore[arg-type]
        yield found


def test_without_login_nothing_is_told_but_health(server: Guarded) -> None:
    with server.client(csrf=True) as client:
        codes = {route: client.post(f"/{route}", json={"include_secrets": True}).status_code for route in ROUTES}
        assert codes == dict.fromkeys(ROUTES, 401)
        assert client.get("/admin/settings").status_code == 401
        assert client.get("/csrf-token", params={"client": "stranger"}).status_code == 401
        assert client.get("/health").status_code == 200


def test_a_wrong_password_is_as_good_as_none(server: Guarded) -> None:
    with server.client(csrf=True) as client:
        assert client.post("/flows/filter", json={}, auth=("operator", "guess")).status_code == 401


def test_a_browser_that_another_page_leads_here_changes_nothing(server: Guarded) -> None:
    with server.client(csrf=False) as client:
        refused = client.post("/variables/", json={"name": "forged", "value": "x"}, auth=server.login)
    assert refused.status_code == 403
    assert "forged" not in GuardedApi(server).text("variables")


def test_the_database_alone_gives_no_secret_away(server: Guarded) -> None:
    kept = b"".join(path.read_bytes() for path in server.home.glob("prefect.db*"))

    assert VALUE.encode() not in kept
    assert server.key.encode() not in kept
    with closing(sqlite3.connect(server.home / "prefect.db")) as connection:
        keys = connection.execute("SELECT count(*) FROM configuration WHERE key = 'ENCRYPTION_KEY'").fetchone()
    assert keys == (0,)


def test_who_has_the_login_may_read_every_secret(server: Guarded) -> None:
    """There are no roles in Prefect's own server: docs/security.md says so, and what follows from it."""
    api = GuardedApi(server)

    assert VALUE not in api.text("block_documents")
    assert VALUE in "".join(str(one) for one in api.all("block_documents", include_secrets=True))


def test_the_server_tells_its_settings_without_its_own_secrets(server: Guarded) -> None:
    told = httpx.get(f"{server.server.api_url}/admin/settings", auth=server.login, trust_env=False).text

    assert server.password not in told
    assert server.key not in told


def test_python_m_blocks_register_works_behind_a_login(server: Guarded) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "blocks", "register"],
        env=os.environ | {"RELAY_TOKEN": VALUE}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "relay-token: made" in done.stdout
    assert VALUE not in done.stdout + done.stderr
