"""The key that encrypts Prefect's blocks: another one is noticed before anything is written, and can be changed."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography.fernet import Fernet

from ai_workflow.local import encryption, ports, process, rekey, server
from ai_workflow.local.encryption import EncryptionError
from ai_workflow.local.server import Server
from ai_workflow.local.stack import database
from ai_workflow.local.stack.paths import StackPaths
from tests import ending_commands, prefect_retry, services
from tests.deploy.running_stack import ROOT, RunningStack, in_folder
from tests.services import Postgres

pytestmark = pytest.mark.slow

FIRST, SECOND = (Fernet.generate_key().decode() for _ in range(2))
SAVED = {"prod-db": "canary-of-a-database", "chat-bot": "canary-of-a-chat"}
KEY = "PREFECT_ENCRYPTION_KEY"


@pytest.fixture(scope="module")
def empty(prefect_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as Prefect's own server makes it, with its block types and without blocks."""
    home = httpx.get(f"{prefect_server.api_url}/admin/settings", trust_env=False, timeout=60).json()["home"]
    path = tmp_path_factory.mktemp("empty") / "prefect.db"
    with closing(sqlite3.connect(path)) as copy, closing(sqlite3.connect(Path(home) / "prefect.db")) as source:
        source.backup(copy)
        with copy:
            copy.execute("DELETE FROM block_document")
            copy.execute("DELETE FROM configuration WHERE key = 'ENCRYPTION_KEY'")
    return path


@pytest.fixture
def var(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the project with such a database; a server that a test has started there is stopped."""
    for name in (KEY, rekey.OLD_VARIABLE, "PREFECT_SERVER_ENCRYPTION_KEY", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(server, "PORT", services.free_port())
    (tmp_path / "var" / "prefect").mkdir(parents=True)
    shutil.copy(empty, tmp_path / "var" / "prefect" / "prefect.db")
    yield tmp_path / "var"
    server.stop(tmp_path / "var")


def url(var: Path) -> str:
    return f"sqlite+aiosqlite:///{var / 'prefect' / 'prefect.db'}"


def save(var: Path, key: str, *, is_stored: bool = False, names: dict[str, str] = SAVED) -> None:
    """Save Secret blocks as Prefect's server does with a key, which it keeps in the database if it was given none."""
    with closing(sqlite3.connect(var / "prefect" / "prefect.db")) as connection, connection:
        schema, kind = connection.execute(
            "SELECT s.id, t.id FROM block_schema s JOIN block_type t ON t.id = s.block_type_id WHERE t.slug = 'secret'"
        ).fetchone()
        for name, value in names.items():
            data = json.dumps(Fernet(key.encode()).encrypt(json.dumps({"value": value}).encode()).decode())
            connection.execute(
                "INSERT INTO block_document (id, name, data, block_schema_id, block_type_id, block_type_name) "
                "VALUES (?, ?, ?, ?, ?, 'Secret')",
                (str(uuid.uuid4()), name, data, schema, kind),
            )
        if is_stored:
            connection.execute(
                "INSERT INTO configuration (id, key, value) VALUES (?, 'ENCRYPTION_KEY', ?)",
                (str(uuid.uuid4()), json.dumps({"fernet_key": key})),
            )


def held(var: Path, key: str | None = None) -> dict[str, str]:
    """Return the values of all blocks, decrypted with a key or with the one in the database."""
    with closing(sqlite3.connect(var / "prefect" / "prefect.db")) as connection:
        if key is None:
            row = connection.execute("SELECT value FROM configuration WHERE key = 'ENCRYPTION_KEY'").fetchone()
            key = json.loads(row[0])["fernet_key"]
        fernet = Fernet(key.encode())
        rows = connection.execute("SELECT name, data FROM block_document").fetchall()
    return {name: json.loads(fernet.decrypt(json.loads(data).encode()))["value"] for name, data in rows}


def command(var: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m ai_workflow.local.rekey` beside a folder `var`."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"} | variables
    return subprocess.run(
        [sys.executable, "-m", "ai_workflow.local.rekey", *arguments], cwd=var.parent, env=environment, timeout=240,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("was", "is_stored", "becomes"),
    [(FIRST, True, SECOND), (FIRST, False, SECOND), (FIRST, False, None)],
    ids=["added", "changed", "removed"],
)
def test_different_encryption_key_is_rejected_with_block_names(
    var: Path, was: str, is_stored: bool, becomes: str | None
) -> None:
    save(var, was, is_stored=is_stored)
    before = (var / "prefect" / "prefect.db").read_bytes()

    with pytest.raises(EncryptionError) as refused:
        encryption.check(url(var), becomes)

    said = str(refused.value)
    assert "secret/chat-bot, secret/prod-db" in said
    assert "Nothing was written" in said
    assert "python -m ai_workflow.local.rekey" in said
    assert FIRST not in said
    assert SECOND not in said
    assert (var / "prefect" / "prefect.db").read_bytes() == before
    encryption.check(url(var), None if is_stored else was)


def test_database_without_blocks_accepts_any_key(var: Path, tmp_path: Path) -> None:
    encryption.check(url(var), FIRST)
    encryption.check(url(var), None)
    encryption.check(url(tmp_path / "nowhere"), FIRST)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("key", ["secret", "0" * 44, "ä" * 44])
def test_invalid_encryption_key_is_rejected_before_server_start(var: Path, key: str) -> None:
    with pytest.raises(EncryptionError, match=r"PREFECT_ENCRYPTION_KEY: it is not a Fernet key"):
        encryption.check(url(var), key)


def test_make_run_rejects_different_encryption_key(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(var, FIRST, is_stored=True)
    monkeypatch.setenv(KEY, SECOND)

    with pytest.raises(EncryptionError, match="secret/prod-db"):
        server.ensure(var)
    assert server.local_server(var) is None


@pytest.mark.slow
def test_standalone_server_rejects_different_encryption_key(var: Path) -> None:
    save(var, FIRST)
    before = (var / "prefect" / "prefect.db").read_bytes()
    given = {"PREFECT_API_DATABASE_CONNECTION_URL": url(var), "PREFECT_HOME": str(var / "home"), KEY: SECOND}
    done = ending_commands.run(
        [sys.executable, "-m", "ai_workflow.local.prefect_server", "--port", str(services.free_port())],
        cwd=ROOT,
        env=os.environ | given,
    )

    assert done.returncode == 1
    assert re.search(r"secret/chat-bot, secret/prod-db cannot be decrypted", done.stderr), done.stderr
    assert (var / "prefect" / "prefect.db").read_bytes() == before


def test_make_up_rejects_different_encryption_key(empty: Path, tmp_path: Path) -> None:
    with in_folder(tmp_path) as stack:
        _furnish(stack, empty)
        done = stack.command("up", "--offset", str(stack.options.offset), **{KEY: SECOND})
        assert not (stack.place.folder / "logs").exists(), "something was started"

    assert (done.returncode, done.stdout) == (2, "")
    assert "secret/prod-db" in done.stderr
    assert "Traceback" not in done.stderr


def _furnish(stack: RunningStack, empty: Path) -> None:
    (stack.place.var / "prefect").mkdir(parents=True)
    shutil.copy(empty, stack.place.var / "prefect" / "prefect.db")
    save(stack.place.var, FIRST, is_stored=True)


def test_rekey_encrypts_every_block_and_removes_stored_key(var: Path) -> None:
    save(var, FIRST, is_stored=True)

    done = command(var, **{KEY: SECOND})

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"block secret/{name}: encrypted again" for name in sorted(SAVED)]
    assert held(var, SECOND) == SAVED
    files = b"".join(path.read_bytes() for path in (var / "prefect").glob("prefect.db*"))
    assert FIRST.encode() not in files
    encryption.check(url(var), SECOND)


def test_rekey_switches_between_external_and_stored_key(var: Path) -> None:
    save(var, FIRST)
    rekey.change(url(var), SECOND, [FIRST])
    assert held(var, SECOND) == SAVED

    done = rekey.change(url(var), None, [SECOND])

    assert sorted(done.reencrypted) == ["secret/chat-bot", "secret/prod-db"]
    assert held(var) == SAVED
    encryption.check(url(var), None)


def test_rekey_unifies_multiple_keys_and_is_idempotent(var: Path) -> None:
    save(var, FIRST, is_stored=True)
    save(var, SECOND, names={"saved-later": "canary-of-later"})

    first = rekey.change(url(var), SECOND, [])
    second = rekey.change(url(var), SECOND, [])

    assert (sorted(first.reencrypted), first.kept) == (["secret/chat-bot", "secret/prod-db"], ["secret/saved-later"])
    assert (second.reencrypted, len(second.kept)) == ([], 3)
    assert held(var, SECOND) == SAVED | {"saved-later": "canary-of-later"}


def test_undecryptable_block_aborts_rekey_without_changes(var: Path) -> None:
    save(var, FIRST, is_stored=True)
    save(var, Fernet.generate_key().decode(), names={"relay-token": "x", "mine": "y"})
    before = (var / "prefect" / "prefect.db").read_bytes()

    refused = command(var, **{KEY: SECOND})

    assert refused.returncode == 1
    assert (
        "secret/mine, secret/relay-token cannot be decrypted with any of the keys. Nothing was changed"
        in refused.stderr
    )
    assert (var / "prefect" / "prefect.db").read_bytes() == before

    done = command(var, "--delete-unreadable", **{KEY: SECOND})

    assert done.returncode == 0, done.stderr
    assert "block secret/mine: deleted. Enter it again in the UI" in done.stdout
    assert "block secret/relay-token: deleted. Set RELAY_TOKEN at the next" in done.stdout
    assert held(var, SECOND) == SAVED


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.soak
def test_server_reads_blocks_before_and_after_rekey(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _block_of(server.ensure(var), save=True) == "canary"
    refused = command(var, **{KEY: SECOND})
    assert "in use by a Prefect server. Stop it: make stop" in refused.stderr
    server.stop(var)
    monkeypatch.setenv(KEY, FIRST)
    with pytest.raises(EncryptionError):
        server.ensure(var)
    monkeypatch.delenv(KEY)
    assert _block_of(server.ensure(var)) == "canary", "the setting of before works after a failed start"
    server.stop(var)

    done = command(var, **{KEY: FIRST})

    assert done.returncode == 0, done.stderr
    monkeypatch.setenv(KEY, FIRST)
    assert _block_of(server.ensure(var)) == "canary"


def _block_of(found: Server, *, save: bool = False) -> str:
    """Return the value of a Secret block as the API gives it, saved before if that is wished."""
    with prefect_retry.client(found.api_url) as api:
        if save:
            kind = api.get("/block_types/slug/secret").raise_for_status().json()["id"]
            asked = {"block_schemas": {"block_type_id": {"any_": [kind]}}}
            schema = api.post("/block_schemas/filter", json=asked).raise_for_status().json()[0]["id"]
            body = {"name": "kept", "data": {"value": "canary"}, "block_schema_id": schema, "block_type_id": kind}
            api.post("/block_documents/", json=body).raise_for_status()
        path = "/block_types/slug/secret/block_documents/name/kept"
        document: dict[str, Any] = api.get(path, params={"include_secrets": True}).raise_for_status().json()
    return str(document["data"]["value"])


@contextmanager
def _running(module: list[str], log: Path, port: int, **variables: str) -> Iterator[Server]:
    """Run a server that is not that of the project's commands."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(log.parent), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **variables}
    started = process.spawn([sys.executable, *module], environment, log)
    try:
        while ports.get(port, "/api/health") != b"true":
            assert started.is_alive(), log.read_text()
            time.sleep(0.1)
        yield Server(f"http://127.0.0.1:{port}/api")
    finally:
        started.end()


@pytest.mark.slow
@pytest.mark.soak
def test_bootstrap_on_server_with_different_key_changes_no_objects(var: Path, tmp_path: Path) -> None:
    save(var, FIRST, is_stored=True)
    port = services.free_port()
    plain = ["-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", "--port", str(port)]
    variables = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": url(var), "PREFECT_SERVER_ENCRYPTION_KEY": SECOND}
    with _running(plain, tmp_path / "log", port, **variables) as found:
        given = {"PREFECT_API_URL": found.api_url, "PREFECT_HOME": str(tmp_path / "home"), "RELAY_TOKEN": "canary"}
        done = subprocess.run(
            [sys.executable, "-m", "ai_workflow", "deploy"], cwd=ROOT, env=os.environ | given, timeout=240,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        with prefect_retry.client(found.api_url) as api:
            made = [api.post(f"/{kind}/filter", json={}).json() for kind in ("deployments", "variables", "automations")]

    assert done.returncode == 2
    assert re.search(r"blocks of the Prefect server .* cannot be read \(500\).*Nothing was changed", done.stderr)
    assert "python -m ai_workflow.local.rekey" in done.stderr
    assert made == [[], [], []]
    assert held(var) == SAVED


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_postgresql_blocks_are_checked_and_rekeyed(postgres: Postgres, tmp_path: Path) -> None:
    with postgres.connect() as connection:
        connection.execute("DROP DATABASE IF EXISTS encrypted")
        connection.execute("CREATE DATABASE encrypted")
    login = f"{postgres.user}:{quote(postgres.password, safe='')}"
    where = f"postgresql+asyncpg://{login}@{postgres.host}:{postgres.port}/encrypted"
    port = services.free_port()
    ours = ["-m", "ai_workflow.local.prefect_server", "--port", str(port)]
    variables = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": where}
    with _running(ours, tmp_path / "log", port, **variables) as found:
        assert _block_of(found, save=True) == "canary"
    encryption.check(where, None)
    with pytest.raises(EncryptionError, match="secret/kept") as refused:
        encryption.check(where, SECOND)
    assert postgres.password not in str(refused.value)
    with (
        pytest.raises(AssertionError, match="secret/kept"),
        _running(ours, tmp_path / "log", port, **variables, PREFECT_SERVER_ENCRYPTION_KEY=SECOND),
    ):
        pass

    done = command(tmp_path / "var", PREFECT_SERVER_ENCRYPTION_KEY=SECOND, **variables)

    assert (done.returncode, done.stdout) == (0, "block secret/kept: encrypted again\n"), done.stderr
    with _running(ours, tmp_path / "log", port, **variables, PREFECT_SERVER_ENCRYPTION_KEY=SECOND) as found:
        assert _block_of(found) == "canary"
    assert rekey.change(where, None, [SECOND]).reencrypted == ["secret/kept"]
    encryption.check(where, None)


@pytest.mark.timeout(900)
@pytest.mark.soak
def test_stack_postgresql_blocks_are_rekeyed(tmp_path: Path) -> None:
    services.postgres_binaries()
    ours = ["-m", "ai_workflow.local.prefect_server", "--port", str(port := services.free_port())]
    # The account of PostgreSQL has to reach the folder.
    with services.open_folder() as folder:
        place = StackPaths(folder / "var")
        place.folder.mkdir(parents=True)
        database.prepare(place)
        with database.running(place) as where:
            variables = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": where}
            with _running(ours, tmp_path / "log", port, **variables) as found:
                assert _block_of(found, save=True) == "canary"

        done = command(folder / "var", "--postgresql", PREFECT_ENCRYPTION_KEY=SECOND)

        assert (done.returncode, done.stdout) == (0, "block secret/kept: encrypted again\n"), done.stderr
        with database.running(place) as where:
            encryption.check(where, SECOND)
            with pytest.raises(EncryptionError, match="secret/kept"):
                encryption.check(where, FIRST)
