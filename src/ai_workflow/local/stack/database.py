"""A PostgreSQL of the stack's own, for Prefect: on loopback, with a password, its data in the stack's folder."""

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
from ai_workflow.local.stack.paths import Options, Place
from ai_workflow.local.stack.services import POSTGRESQL
from ai_workflow.runtime.stall_timeout import StallTimeout, group_cpu_ticks

INSTALL = "apt-get install postgresql (dnf install postgresql-server)"
_NAME = "prefect"
_START_SECONDS = 60.0


class DatabaseError(AiWorkflowError):
    """PostgreSQL cannot be had."""


def prepare(place: Place) -> None:
    """Make an empty database where there is none yet.

    Raises:
        DatabaseError: PostgreSQL is not installed, or its account cannot reach the folder; with its own words.
    """
    programs()
    folder = place.of(POSTGRESQL)
    if (_data(place) / "PG_VERSION").exists():
        return
    folder.mkdir(exist_ok=True)
    password = folder / "password"
    password.write_text(secrets.token_urlsafe(24))
    if account():
        # Its own folder is its account's; that one only has to get there.
        place.folder.chmod(0o711)
    initialise(_data(place), _NAME, password)


def initialise(data: Path, user: str, password: Path, *options: str) -> None:
    """Make an empty database that asks for a password, as the account that may run it; whose its folder then is.

    Args:
        data: the folder of the database, which is made anew; its parent is there.
        user: its superuser.
        password: a file with that one's password, in the same parent.
        options: more of initdb.

    Raises:
        DatabaseError: PostgreSQL is not installed, or its account cannot reach the folder; with its own words.
    """
    owner = account()
    password.chmod(0o600)
    for path in (data.parent, password):
        if owner:
            shutil.chown(path, owner.pw_uid, owner.pw_gid)
    shutil.rmtree(data, ignore_errors=True)
    made = subprocess.run(
        [programs() / "initdb", "-D", data, "-U", user, f"--pwfile={password}", "--auth=scram-sha-256",
         "--encoding=UTF8", "--locale=C", *options],
        cwd="/", user=owner and owner.pw_uid, group=owner and owner.pw_gid, extra_groups=[] if owner else None,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        shutil.rmtree(data, ignore_errors=True)
        hint = f" As root it runs as {owner.pw_name}, who must be able to reach the folder." if owner else ""
        raise DatabaseError(f"PostgreSQL cannot set up {data}: {made.stderr.strip()[-500:]}.{hint}")


def command(place: Place, options: Options) -> list[str]:
    """Return its program and arguments."""
    settings = {"listen_addresses": HOST, "port": options.port(POSTGRESQL), "unix_socket_directories": ""}
    given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [str(programs() / "postgres"), "-D", str(_data(place)), *given]


def url(place: Place, options: Options) -> str:
    """Return the address, password included, as Prefect takes it."""
    login = f"{_NAME}:{quote(_password(place), safe='')}"
    return f"postgresql+asyncpg://{login}@{HOST}:{options.port(POSTGRESQL)}/postgres"


def problem(place: Place, options: Options) -> str | None:
    """Return why it does not let us in, None if it does."""
    try:
        psycopg.connect(
            host=HOST, port=options.port(POSTGRESQL), user=_NAME, password=_password(place), dbname="postgres",
            connect_timeout=5,
        ).close()  # fmt: skip
    except psycopg.OperationalError as error:
        return str(error).strip()
    return None


@contextmanager
def running(place: Place) -> Iterator[str]:
    """Run the database outside of the stack, on a free port, and give its address.

    Raises:
        DatabaseError: there is none, or it does not come up.
    """
    if not (_data(place) / "PG_VERSION").exists():
        raise DatabaseError(f"PostgreSQL has no database in {_data(place)}. make up DB=postgresql makes one")
    assert POSTGRESQL.port is not None
    options = Options(postgresql=True, offset=ports.free() - POSTGRESQL.port)
    owner = account()
    process = subprocess.Popen(
        command(place, options), cwd="/", user=owner and owner.pw_uid, group=owner and owner.pw_gid,
        extra_groups=[] if owner else None, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(place, options, process, StallTimeout(process.pid, _START_SECONDS, cpu=group_cpu_ticks))
        yield url(place, options)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _wait_for(place: Place, options: Options, process: subprocess.Popen[bytes], starting: StallTimeout) -> None:
    """Wait until the database answers, as long as it makes progress.

    Raises:
        DatabaseError: it ended, or made no progress.
    """
    while why := problem(place, options):
        if reason := "it ended" if process.poll() is not None else starting.reason:
            raise DatabaseError(f"PostgreSQL in {_data(place)} did not come up: {reason} ({why}). Start it by make up")
        time.sleep(0.1)


def become_its_account() -> None:
    """Give up being root, as which it refuses to run; nothing is done for anybody else."""
    if owner := account():
        os.initgroups(owner.pw_name, owner.pw_gid)
        os.setgid(owner.pw_gid)
        os.setuid(owner.pw_uid)


def _data(place: Place) -> Path:
    return place.of(POSTGRESQL) / "data"


def _password(place: Place) -> str:
    return (place.of(POSTGRESQL) / "password").read_text()


def account() -> pwd.struct_passwd | None:
    """Return the account that PostgreSQL runs as in the place of root; None: as whoever starts it."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise DatabaseError("PostgreSQL does not run as root, and there is no account postgres: useradd --system postgres")


def programs() -> Path:
    """Return the folder of PostgreSQL's programs.

    Raises:
        DatabaseError: they are not installed.
    """
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    for folder in [*reversed(versions), *([Path(on_path).resolve().parent] if on_path else [])]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise DatabaseError(f"PostgreSQL is not installed: {INSTALL}, or leave out DB=postgresql")
