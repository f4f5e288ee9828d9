"""The PostgreSQL server of a stack, for Prefect: on loopback, with a password, data in the folder of the stack."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg

from ai_workflow.errors import AiWorkflowError
from ai_workflow.local import ports
from ai_workflow.local.ports import HOST
from ai_workflow.local.stack.paths import StackOptions, StackPaths
from ai_workflow.local.stack.services import POSTGRESQL
from ai_workflow.runtime.stall_timeout import StallTimeout, group_cpu_ticks

INSTALL = "apt-get install postgresql (dnf install postgresql-server)"
_NAME = "prefect"
_START_SECONDS = 60.0


class DatabaseError(AiWorkflowError):
    """PostgreSQL is not installed, or cannot be set up or started."""


def prepare(paths: StackPaths) -> None:
    """Create an empty database if there is none yet.

    Raises:
        DatabaseError: PostgreSQL is not installed, or its account cannot reach the folder; with its error.
    """
    programs()
    folder = paths.data_folder(POSTGRESQL)
    if (_data(paths) / "PG_VERSION").exists():
        return
    folder.mkdir(exist_ok=True)
    password = folder / "password"
    password.write_text(secrets.token_urlsafe(24))
    if account():
        # The account owns its own folder, and needs to traverse this one.
        paths.folder.chmod(0o711)
    initialize(_data(paths), _NAME, password)


def initialize(data: Path, user: str, password: Path, *options: str) -> None:
    """Create an empty database that requires a password, owned by the account that PostgreSQL runs as.

    Args:
        data: the folder of the database, which is replaced; its parent exists.
        user: the superuser.
        password: a file with the password of the superuser, in the same parent.
        options: further options of initdb.

    Raises:
        DatabaseError: PostgreSQL is not installed, or its account cannot reach the folder; with its error.
    """
    owner = account()
    password.chmod(0o600)
    for path in (data.parent, password):
        if owner:
            shutil.chown(path, owner.pw_uid, owner.pw_gid)
    shutil.rmtree(data, ignore_errors=True)
    initdb = subprocess.run(
        [programs() / "initdb", "-D", data, "-U", user, f"--pwfile={password}", "--auth=scram-sha-256",
         "--encoding=UTF8", "--locale=C", *options],
        cwd="/", user=owner and owner.pw_uid, group=owner and owner.pw_gid, extra_groups=[] if owner else None,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if initdb.returncode:
        shutil.rmtree(data, ignore_errors=True)
        hint = f" As root it runs as {owner.pw_name}, which must be able to reach the folder." if owner else ""
        raise DatabaseError(f"PostgreSQL cannot set up {data}: {initdb.stderr.strip()[-500:]}.{hint}")


def command(paths: StackPaths, options: StackOptions) -> list[str]:
    """Return the command of the PostgreSQL server."""
    settings = {"listen_addresses": HOST, "port": options.port(POSTGRESQL), "unix_socket_directories": ""}
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [str(programs() / "postgres"), "-D", str(_data(paths)), *arguments]


def url(paths: StackPaths, options: StackOptions) -> str:
    """Return the URL in the format of Prefect, with the password."""
    login = f"{_NAME}:{quote(_password(paths), safe='')}"
    return f"postgresql+asyncpg://{login}@{HOST}:{options.port(POSTGRESQL)}/postgres"


def problem(paths: StackPaths, options: StackOptions) -> str | None:
    """Return why a connection fails, None if it succeeds."""
    try:
        psycopg.connect(
            host=HOST, port=options.port(POSTGRESQL), user=_NAME, password=_password(paths), dbname="postgres",
            connect_timeout=5,
        ).close()  # fmt: skip
    except psycopg.OperationalError as error:
        return str(error).strip()
    return None


@contextmanager
def running(paths: StackPaths) -> Iterator[str]:
    """Run the database outside of the stack, on a free port, and yield its URL.

    Raises:
        DatabaseError: there is none, or it does not start.
    """
    if not (_data(paths) / "PG_VERSION").exists():
        raise DatabaseError(f"PostgreSQL has no database in {_data(paths)}. make up DB=postgresql creates one")
    assert POSTGRESQL.port is not None
    options = StackOptions(postgresql=True, offset=ports.find_free() - POSTGRESQL.port)
    owner = account()
    process = subprocess.Popen(
        command(paths, options), cwd="/", user=owner and owner.pw_uid, group=owner and owner.pw_gid,
        extra_groups=[] if owner else None, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(paths, options, process, StallTimeout(process.pid, _START_SECONDS, cpu=group_cpu_ticks))
        yield url(paths, options)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _wait_for(
    paths: StackPaths, options: StackOptions, process: subprocess.Popen[bytes], starting: StallTimeout
) -> None:
    """Wait until the database answers, as long as it makes progress.

    Raises:
        DatabaseError: it ended, or made no progress.
    """
    while refusal := problem(paths, options):
        if reason := "it ended" if process.poll() is not None else starting.reason:
            raise DatabaseError(
                f"PostgreSQL in {_data(paths)} did not start: {reason} ({refusal}). Start it by make up"
            )
        time.sleep(0.1)


def drop_root() -> None:
    """Switch from root to the account of PostgreSQL, which refuses to run as root; other users are unchanged."""
    if owner := account():
        os.initgroups(owner.pw_name, owner.pw_gid)
        os.setgid(owner.pw_gid)
        os.setuid(owner.pw_uid)


def _data(paths: StackPaths) -> Path:
    return paths.data_folder(POSTGRESQL) / "data"


def _password(paths: StackPaths) -> str:
    return (paths.data_folder(POSTGRESQL) / "password").read_text()


def account() -> pwd.struct_passwd | None:
    """Return the account that PostgreSQL runs as instead of root; None if the current user is not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise DatabaseError("PostgreSQL does not run as root, and there is no account postgres: useradd --system postgres")


def programs() -> Path:
    """Return the folder of the programs of PostgreSQL.

    Raises:
        DatabaseError: they are not installed.
    """
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    for folder in [*reversed(versions), *([Path(on_path).resolve().parent] if on_path else [])]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise DatabaseError(f"PostgreSQL is not installed: {INSTALL}, or leave out DB=postgresql")
