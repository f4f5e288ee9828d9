"""A PostgreSQL of the stack's own, for Prefect: on loopback, with a password, its data in the stack's folder."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import psycopg

from ai_workflow.errors import AiWorkflowError
from deploy.ports import HOST
from deploy.stack.place import Options, Place
from deploy.stack.services import POSTGRESQL

INSTALL = "apt-get install postgresql (dnf install postgresql-server)"
_NAME = "prefect"


class DatabaseError(AiWorkflowError):
    """PostgreSQL cannot be had."""


def prepare(place: Place) -> None:
    """Make an empty database where there is none yet.

    Raises:
        DatabaseError: PostgreSQL is not installed, or its account cannot reach the folder; with its own words.
    """
    programs, folder, account = _programs(), place.of(POSTGRESQL), _account()
    if (_data(place) / "PG_VERSION").exists():
        return
    folder.mkdir(exist_ok=True)
    password = folder / "password"
    password.write_text(secrets.token_urlsafe(24))
    password.chmod(0o600)
    for path in (folder, password):
        if account:
            shutil.chown(path, account.pw_uid, account.pw_gid)
    if account:
        # Its own folder is its account's; that one only has to get there.
        place.folder.chmod(0o711)
    shutil.rmtree(_data(place), ignore_errors=True)
    made = subprocess.run(
        [programs / "initdb", "-D", _data(place), "-U", _NAME, f"--pwfile={password}", "--auth=scram-sha-256",
         "--encoding=UTF8", "--locale=C"],
        cwd=folder if os.access(folder, os.X_OK) else "/", user=account and account.pw_uid,
        group=account and account.pw_gid, extra_groups=[] if account else None,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        shutil.rmtree(_data(place), ignore_errors=True)
        hint = f" As root it runs as {account.pw_name}, who must be able to reach the folder." if account else ""
        raise DatabaseError(f"PostgreSQL cannot set up {_data(place)}: {made.stderr.strip()[-500:]}.{hint}")


def command(place: Place, options: Options) -> list[str]:
    """Return its program and arguments."""
    settings = {"listen_addresses": HOST, "port": options.port(POSTGRESQL), "unix_socket_directories": ""}
    given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [str(_programs() / "postgres"), "-D", str(_data(place)), *given]


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


def become_its_account() -> None:
    """Give up being root, as which it refuses to run; nothing is done for anybody else."""
    if account := _account():
        os.initgroups(account.pw_name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)


def _data(place: Place) -> Path:
    return place.of(POSTGRESQL) / "data"


def _password(place: Place) -> str:
    return (place.of(POSTGRESQL) / "password").read_text()


def _account() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise DatabaseError("PostgreSQL does not run as root, and there is no account postgres: useradd --system postgres")


def _programs() -> Path:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    for folder in [*reversed(versions), *([Path(on_path).resolve().parent] if on_path else [])]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise DatabaseError(f"PostgreSQL is not installed: {INSTALL}, or leave out DB=postgresql")
