"""A table of a real PostgreSQL server is trained on, and its password is found nowhere."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from prefect.blocks.system import Secret

from ai_workflow.local.server import Server
from tests.flows import sample_tables
from tests.flows.prefect_api import EVERYTHING, Api
from tests.flows.workspace import TRAINING, Run, Workplace
from tests.services import Postgres

pytestmark = pytest.mark.slow

TABLE = "flow_rows"
BLOCK = "flow-test-password"


@pytest.fixture(scope="module")
def trained_on(
    postgres: Postgres, prefect_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workplace, Run, Run]:
    """Two trainings on a table, its password in a Prefect Secret block; the first connection of the first one fails."""
    with postgres.connect() as connection:
        connection.execute(f"CREATE TABLE {TABLE} (row_id text PRIMARY KEY, age float, kind text, seen date, good int)")
        with connection.cursor() as cursor:
            rows = [[row[0], float(row[1]) if row[1] else None, *row[2:]] for row in sample_tables.rows()]
            cursor.executemany(f"INSERT INTO {TABLE} VALUES (%s, %s, %s, %s, %s)", rows)
    Secret(value=postgres.password).save(BLOCK, overwrite=True)
    place = Workplace(tmp_path_factory.mktemp("table"))
    address = {"host": postgres.host, "username": postgres.user, "password": f"${{secret:{BLOCK}}}"}
    source = {"kind": "sql", "table": TABLE}
    with _dropping_the_first_connection(postgres.port) as port:
        place.configure(source=source, database=address | {"port": port})
        first = place.train(AIW_LOG_LEVEL="DEBUG", PREFECT_LOGGING_LEVEL="DEBUG")
    place.configure(source=source, database=address | {"port": postgres.port})
    return place, first, place.train()


def test_postgres_table_trains_model(trained_on: tuple[Workplace, Run, Run]) -> None:
    place, first, second = trained_on

    assert first.code == 0, first.output
    assert first.of("data_loader").message == "150 records loaded"
    assert place.registry.versions() == ["model_v1.0"]
    # A database cannot vouch that nothing changed: it is read again, and what follows sees the same rows.
    assert second.stages == dict.fromkeys(TRAINING, "CACHED") | {"data_loader": "SUCCESS"}


def test_failed_connection_is_retried_within_stage(trained_on: tuple[Workplace, Run, Run]) -> None:
    _, first, _ = trained_on

    assert len([line for line in first.ours("WARN") if "; retry in" in line.message]) == 1
    assert not first.ours("ERROR")
    assert [event.status for event in first.events if event.stage == "data_loader"] == ["STARTED", "SUCCESS"]


def test_database_password_is_not_stored_or_logged(
    trained_on: tuple[Workplace, Run, Run], postgres: Postgres, prefect_server: Server
) -> None:
    place, *runs = trained_on
    api = Api(prefect_server)
    for run in runs:
        assert any(line.startswith("150 records loaded") for line in api.logs(run.events[0].flow_run_id))

    told = {f"Prefect's {what}": api.text(what) for what in EVERYTHING}
    assert all(told[f"Prefect's {what}"] for what in ("logs", "artifacts", "flow_runs", "task_runs", "events"))
    assert BLOCK in told["Prefect's block_documents"]
    told |= {f"the output of run {number}": run.output for number, run in enumerate(runs, 1)}
    for where, text in told.items():
        assert postgres.password not in text, f"the password is in {where}"
    files = [path for path in place.folder.rglob("*") if path.is_file()]
    assert {"journal", "results", "data", "models"} <= {path.relative_to(place.var).parts[0] for path in files
                                                        if path.is_relative_to(place.var)}  # fmt: skip
    for path in files:
        assert postgres.password.encode() not in path.read_bytes(), f"the password is in {path}"


@contextlib.contextmanager
def _dropping_the_first_connection(port: int) -> Iterator[int]:
    """Give a port that leads to another one, save that the first connection is closed at once."""
    with socket.create_server(("127.0.0.1", 0)) as door, contextlib.ExitStack() as open_ones:

        def serve() -> None:
            door.accept()[0].close()
            with contextlib.suppress(OSError):
                while True:
                    inside = open_ones.enter_context(door.accept()[0])
                    outside = open_ones.enter_context(socket.create_connection(("127.0.0.1", port)))
                    for ends in ((inside, outside), (outside, inside)):
                        threading.Thread(target=_pass_on, args=ends, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield door.getsockname()[1]
        door.shutdown(socket.SHUT_RDWR)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
