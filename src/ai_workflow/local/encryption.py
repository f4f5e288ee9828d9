"""The key that encrypts the blocks of a Prefect server: what it reads, checked before a server starts.

Prefect answers 500 to each request for a block that another key encrypted, and saves new blocks with the present key
all the same. Then no key reads all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ai_workflow.errors import AiWorkflowError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet
    from sqlalchemy import Connection, Engine

VARIABLE = "PREFECT_ENCRYPTION_KEY"
# The names by which Prefect itself reads it.
_PREFECT_NAMES = ("PREFECT_SERVER_ENCRYPTION_KEY", "ORION_ENCRYPTION_KEY")
_STORED = "ENCRYPTION_KEY"
_LISTED = 10


class EncryptionError(AiWorkflowError):
    """The blocks of a database were encrypted with another key, or a key is not one."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block document as it is stored."""

    id: Any
    name: str
    data: str


def key_of(variables: Mapping[str, str]) -> str | None:
    """Return the key that a server with these variables uses, None for the one that its database holds."""
    return next((variables[name] for name in (VARIABLE, *_PREFECT_NAMES) if variables.get(name)), None)


def check(url: str, key: str | None) -> None:
    """Read every block of a database with the key of a server that is to be started; nothing is written.

    Args:
        url: the database's address, as Prefect takes it.
        key: the server's key; None for the one that the database holds.

    Raises:
        EncryptionError: a block was encrypted with another key, the key is not one, or PostgreSQL does not answer.
    """
    fernets = [fernet(key, VARIABLE)] if key else []
    with _connected(url) as connection:
        if connection is None:
            return
        if not fernets and (stored := stored_key(connection)):
            fernets = [fernet(stored, "the key in Prefect's database")]
        lost = [block.name for block in blocks(connection) if decrypted(block, fernets) is None]
    if lost:
        held = f"the one in {VARIABLE}" if key else f"the one in the database, as {VARIABLE} is not set"
        raise EncryptionError(
            f"Prefect's database {shown(url)}: {listed(lost)} cannot be decrypted, because the key is not {held}. "
            f"Nothing was written. Set {VARIABLE} to the key that they were saved with (unset, if there was none), or "
            "change the key: python -m ai_workflow.local.rekey (docs/security.md, Encryption key)"
        )


def fernet(key: str, name: str) -> Fernet:
    """Return a key ready for use.

    Raises:
        EncryptionError: it is not a Fernet key.
    """
    from cryptography.fernet import Fernet

    try:
        return Fernet(key.encode())
    except ValueError:
        raise EncryptionError(
            f"{name}: it is not a Fernet key, 32 bytes in URL-safe base64. Make one: python -c "
            '"from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
        ) from None


def decrypted(block: Block, fernets: Sequence[Fernet]) -> bytes | None:
    """Return what a block holds, None if none of the keys decrypts it."""
    from cryptography.fernet import InvalidToken

    for each in fernets:
        try:
            return each.decrypt(block.data.encode())
        except InvalidToken:
            continue
    return None


def blocks(connection: Connection) -> list[Block]:
    """Return the encrypted blocks of a database, named type/name; in PostgreSQL they are locked."""
    import sqlalchemy as sa

    documents, types = table(connection, "block_document"), table(connection, "block_type")
    if documents is None or types is None:
        return []
    query = (
        sa.select(documents.c.id, types.c.slug, documents.c.name, documents.c.data)
        .join(types, types.c.id == documents.c.block_type_id)
        .order_by(types.c.slug, documents.c.name)
        .with_for_update(of=documents)
    )
    rows = connection.execute(query).all()
    return [Block(row.id, f"{row.slug}/{row.name}", row.data) for row in rows if isinstance(row.data, str)]


def stored_key(connection: Connection) -> str | None:
    """Return the key that Prefect keeps in the database where it is given none."""
    import sqlalchemy as sa

    configuration = table(connection, "configuration")
    if configuration is None:
        return None
    row = connection.execute(sa.select(configuration.c.value).where(configuration.c.key == _STORED)).first()
    return None if row is None else str(row.value["fernet_key"])


def forget_stored_key(connection: Connection) -> None:
    """Delete the key that Prefect keeps in the database."""
    import sqlalchemy as sa

    configuration = table(connection, "configuration")
    assert configuration is not None
    connection.execute(sa.delete(configuration).where(configuration.c.key == _STORED))


def table(connection: Connection, name: str) -> Any:
    """Return a table of the database, None if there is none of that name."""
    import sqlalchemy as sa

    if not sa.inspect(connection).has_table(name):
        return None
    return sa.Table(name, sa.MetaData(), autoload_with=connection, resolve_fks=False)


def engine(url: str) -> Engine:
    """Return a synchronous engine for the address of a database, as Prefect takes it."""
    import sqlalchemy as sa

    parsed = sa.make_url(url)
    backend = parsed.get_backend_name()
    query = dict(parsed.query)
    if ssl := query.pop("ssl", None):
        query["sslmode"] = ssl
    return sa.create_engine(
        parsed.set(drivername={"postgresql": "postgresql+psycopg"}.get(backend, backend), query=query)
    )


def shown(url: str) -> str:
    """Return the address of a database without its password."""
    import sqlalchemy as sa

    return sa.make_url(url).render_as_string(hide_password=True)


def listed(names: Sequence[str]) -> str:
    """Return the names of blocks as a person reads them, the first ones of many."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"block{'s' if len(names) > 1 else ''} {', '.join(names[:_LISTED])}{more}"


def sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite database, None for others."""
    import sqlalchemy as sa

    parsed = sa.make_url(url)
    return Path(parsed.database or ":memory:") if parsed.get_backend_name() == "sqlite" else None


@contextmanager
def _connected(url: str) -> Iterator[Connection | None]:
    """Give a connection; None where there is no database yet, or SQLite cannot read it, which the server reports."""
    import sqlalchemy as sa

    file = sqlite_file(url)
    if file is not None and not file.is_file():
        yield None
        return
    connecting = engine(url)
    try:
        with connecting.connect() as connection:
            if file is not None and not _is_readable(lambda: connection.exec_driver_sql("PRAGMA schema_version")):
                yield None
                return
            yield connection
    except sa.exc.OperationalError as error:
        raise EncryptionError(
            f"Prefect's database {shown(url)} does not answer: {error.orig}. Start it, or correct its address"
        ) from error
    finally:
        connecting.dispose()


def _is_readable(look: Callable[[], object]) -> bool:
    import sqlalchemy as sa

    try:
        look()
    except sa.exc.DatabaseError:
        return False
    return True
