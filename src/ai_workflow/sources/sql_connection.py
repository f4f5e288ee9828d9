"""Connection of a SQL source: its URL, and its errors as messages without passwords."""

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
# Names without a driver: SQLAlchemy would use psycopg2, which is not installed. `postgres` is the older name.
_POSTGRESQL = ("postgresql", "postgres")
_REJECTED = (
    "authentication failed",
    "no password supplied",
    "access denied",
    "does not exist",
    "unknown database",
    "not a database",
)


def url_of(source: SqlSource, database: Database | None, fetch: Fetch | None) -> URL:
    """Return the URL of the database, from the source or from the section `database`.

    Raises:
        StageError: it is not a database URL, or names a missing SQLite file.
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
            # Not chained: the error of the library shows the text with the password.
            raise StageError(
                "source.url is not a database URL", "Write it as postgresql+psycopg://user:password@host/name"
            ) from None
    else:
        section = database or Database()
        password = section.password.reveal(fetch) if section.password else None
        driver = "postgresql+psycopg" if section.driver in _POSTGRESQL else section.driver
        url = URL.create(driver, section.username, password, section.host, section.port, section.name)
    if url.password:
        # Registers the password itself for masking, not only the URL that contains it.
        Secret(str(url.password))
    _check_file(url)
    return url


@contextlib.contextmanager
def connected(url: URL, source_name: str) -> Iterator[Connection]:
    """Connect for reading; no transaction is committed.

    Args:
        url: the URL of the database.
        source_name: the table or query, for messages: `table x` or `the query`.

    Raises:
        StageError: the database rejects the user, or the table or query is wrong; with its own message.
        TransientError: the database cannot be reached, or is overloaded.
    """
    from sqlalchemy import exc

    engine = _engine(url)
    try:
        connection = _connect(engine, url)
        with contextlib.closing(connection):
            try:
                yield connection
            except exc.DBAPIError as error:
                raise _while_reading(error, url, source_name) from None
            except (exc.SQLAlchemyError, ValueError, TypeError) as error:
                # A value that does not fit the declared type of its column, which SQLite allows.
                raise StageError(
                    f"{source_name} cannot be read from {address(url)}: {scrub(str(error))}", "Cast it in source.query"
                ) from None
    finally:
        engine.dispose()


def address(url: URL) -> str:
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
        raise StageError(f"{address(url)} cannot be used: {scrub(str(error))}", "Correct source.url") from None
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
        reason = _message(error)
        if isinstance(error, exc.OperationalError | exc.InterfaceError) and not any(
            sign in reason.lower() for sign in _REJECTED
        ):
            raise TransientError(
                f"the database {address(url)} cannot be reached: {reason}", "Check that it runs and accepts this host"
            ) from None
        raise StageError(
            f"the database {address(url)} refused '{url.username}': {reason}", "Correct the user, password or name"
        ) from None
    except exc.SQLAlchemyError as error:
        raise StageError(f"{url.drivername}:// cannot be used: {scrub(str(error))}", "Correct source.url") from None


def _while_reading(error: DBAPIError, url: URL, source_name: str) -> StageError:
    state = str(getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None) or "")
    if error.connection_invalidated or state.startswith(_TRANSIENT_CLASSES) or "database is locked" in str(error.orig):
        return TransientError(
            f"the database {address(url)} failed while {source_name} was read: {_message(error)}", "Run again"
        )
    return StageError(
        f"{source_name} cannot be read from {address(url)}: {_message(error)}", "Correct source.query or source.table"
    )


def _message(error: DBAPIError) -> str:
    return scrub(" ".join(str(error.orig).split()).rstrip(".?! "))


def _check_file(url: URL) -> None:
    # SQLite would create an empty database for a wrong path.
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
