"""The connection of a SQL source: its address, and what its errors mean, never with a password in the text."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ai_workflow.config.settings import Database, SqlSource
from ai_workflow.errors import StageError, TransientError
from ai_workflow.secret_values import Fetch, Secret, scrub

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.exc import DBAPIError

_CONNECT_SECONDS = 10
_WITH_TIMEOUT = ("psycopg", "psycopg2", "pymysql", "mysqldb")
_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}
# SQLSTATE classes that may pass: connection, resources, operator, deadlock.
_TRANSIENT_CLASSES = ("08", "53", "57", "40")
# Without a driver, SQLAlchemy takes psycopg2, which is not installed; many services still write the older name.
_POSTGRESQL = ("postgresql", "postgres")
_REFUSED = (
    "authentication failed",
    "no password supplied",
    "access denied",
    "does not exist",
    "unknown database",
    "not a database",
)


def url_of(source: SqlSource, database: Database | None, fetch: Fetch | None) -> URL:
    """Return the address of the database: the source's own, or that of the section `database`.

    Raises:
        StageError: it is not a database URL, or names an SQLite file that is not there.
        MissingSecretError: its secret is not set.
    """
    from sqlalchemy import URL, make_url
    from sqlalchemy.exc import ArgumentError

    if source.url is not None:
        try:
            url = make_url(source.url.reveal(fetch))
            if url.drivername in _POSTGRESQL:
                url = url.set(drivername="postgresql+psycopg")
        except (ArgumentError, ValueError):
            # The error of the library shows the text, password and all.
            raise StageError(
                "source.url is not a database URL", "Write it as postgresql+psycopg://user:password@host/name"
            ) from None
    else:
        found = database or Database()
        password = found.password.reveal(fetch) if found.password else None
        driver = "postgresql+psycopg" if found.driver in _POSTGRESQL else found.driver
        url = URL.create(driver, found.username, password, found.host, found.port, found.name)
    if url.password:
        # From here on the password alone is masked too, not just the URL that holds it.
        Secret(str(url.password))
    _check_file(url)
    return url


@contextlib.contextmanager
def connected(url: URL, what: str) -> Iterator[Connection]:
    """Connect for reading; nothing is ever committed.

    Args:
        url: the address.
        what: what is read, for messages: `table x` or `the query`.

    Raises:
        StageError: refused, or what is read is wrong; with the database's own words.
        TransientError: the database cannot be reached, or is out of breath.
    """
    from sqlalchemy import exc

    engine = _engine(url)
    try:
        connection = _connect(engine, url)
        with contextlib.closing(connection):
            try:
                yield connection
            except exc.DBAPIError as error:
                raise _while_reading(error, url, what) from None
            except (exc.SQLAlchemyError, ValueError, TypeError) as error:
                # A value that is not what its column declares, which SQLite allows.
                raise StageError(
                    f"{what} cannot be read from {place(url)}: {scrub(str(error))}", "Cast it in source.query"
                ) from None
    finally:
        engine.dispose()


def place(url: URL) -> str:
    """Return how a message names the database: `host:port`, or the SQLite file."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    port = url.port or _PORTS.get(url.get_backend_name())
    return f"{url.host}:{port}" if port else str(url.host)


def _engine(url: URL) -> Engine:
    import sqlalchemy as sa
    from sqlalchemy import exc

    try:
        options = {"connect_timeout": _CONNECT_SECONDS} if url.get_driver_name() in _WITH_TIMEOUT else {}
        engine = sa.create_engine(url, connect_args=options, poolclass=sa.NullPool, hide_parameters=True)
    except (exc.NoSuchModuleError, ImportError) as error:
        raise StageError(
            f"no driver for {url.drivername}:// is installed: {scrub(str(error))}",
            _driver_remedy(url),
        ) from None
    except (exc.ArgumentError, TypeError, ValueError) as error:
        raise StageError(f"{place(url)} cannot be used: {scrub(str(error))}", "Correct source.url") from None
    if engine.dialect.is_async:
        raise StageError(f"{url.drivername}:// is an asynchronous driver", "Name another, as postgresql+psycopg://")
    return engine


def _driver_remedy(url: URL) -> str:
    if url.get_backend_name() == "postgresql":
        return "Write it as postgresql+psycopg://, whose driver is installed"
    return "Install the driver into .venv, or correct source.url or database.driver"


def _connect(engine: Engine, url: URL) -> Connection:
    from sqlalchemy import exc

    try:
        return engine.connect()
    except exc.DBAPIError as error:
        said = _words(error)
        if isinstance(error, exc.OperationalError | exc.InterfaceError) and not any(
            sign in said.lower() for sign in _REFUSED
        ):
            raise TransientError(
                f"the database {place(url)} cannot be reached: {said}", "Is it running and open to this host?"
            ) from None
        raise StageError(
            f"the database {place(url)} refused '{url.username}': {said}", "Correct the user, password or name"
        ) from None
    except exc.SQLAlchemyError as error:
        raise StageError(f"{url.drivername}:// cannot be used: {scrub(str(error))}", "Correct source.url") from None


def _while_reading(error: DBAPIError, url: URL, what: str) -> StageError:
    state = str(getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None) or "")
    if error.connection_invalidated or state.startswith(_TRANSIENT_CLASSES) or "database is locked" in str(error.orig):
        return TransientError(f"the database {place(url)} failed while {what} was read: {_words(error)}", "Run again")
    return StageError(
        f"{what} cannot be read from {place(url)}: {_words(error)}", "Correct source.query or source.table"
    )


def _words(error: DBAPIError) -> str:
    return scrub(" ".join(str(error.orig).split()).rstrip(".?! "))


def _check_file(url: URL) -> None:
    # SQLite would make an empty database of a name that is wrong.
    if (
        url.get_backend_name() != "sqlite"
        or not url.database
        or url.database == ":memory:"
        or url.database.startswith("file:")
    ):
        return
    if not Path(url.database).is_file():
        raise StageError(
            f"the SQLite file {url.database} does not exist", "Correct source.url; four slashes begin an absolute path"
        )
