"""The key that encrypts the blocks of a Prefect server, checked before a server starts.

Prefect answers 500 to each request for a block that was encrypted with another key, and saves new blocks with the
current key. After that no single key decrypts all of them.
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
# Prefect's own names of the variable.
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


def configured_key(variables: Mapping[str, str]) -> str | None:
    """Return the key of a server with these variables, None for the key stored in its database."""
    return next((variables[name] for name in (VARIABLE, *_PREFECT_NAMES) if variables.get(name)), None)


def check(url: str, key: str | None) -> None:
    """Check that the key of a server decrypts every block of its database; nothing is written.

    Args:
        url: the URL of the database, in the format of Prefect.
        key: the server's key; None for the key stored in the database.

    Raises:
        EncryptionError: a block was encrypted with another key, the key is not valid, or PostgreSQL does not answer.
    """
    fernets = [fernet(key, VARIABLE)] if key else []
    with _connected(url) as connection:
        if connection is None:
            return
        if not fernets and (stored := stored_key(connection)):
            fernets = [fernet(stored, "the key in Prefect's database")]
        undecryptable = [block.name for block in blocks(connection) if decrypted(block, fernets) is None]
    if undecryptable:
        configured = f"the one in {VARIABLE}" if key else f"the one in the database, as {VARIABLE} is not set"
        raise EncryptionError(
            f"Prefect's database {without_password(url)}: {block_names(undecryptable)} cannot be decrypted, "
            f"because the key is not {configured}. "
            f"Nothing was written. Set {VARIABLE} to the key that they were saved with (unset, if there was none), or "
            "change the key: python -m ai_workflow.local.rekey (docs/security.md, Encryption key)"
        )


def fernet(key: str, name: str) -> Fernet:
    """Return the cipher of a key.

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
    """Return the content of a block, None if none of the keys decrypts it."""
    from cryptography.fernet import InvalidToken

    for cipher in fernets:
        try:
            return cipher.decrypt(block.data.encode())
        except InvalidToken:
            continue
    return None


def blocks(connection: Connection) -> list[Block]:
    """Return the encrypted blocks of a database, named type/name; PostgreSQL locks their rows."""
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
    """Return the key that Prefect stores in the database when none is configured."""
    import sqlalchemy as sa

    configuration = table(connection, "configuration")
    if configuration is None:
        return None
    row = connection.execute(sa.select(configuration.c.value).where(configuration.c.key == _STORED)).first()
    return None if row is None else str(row.value["fernet_key"])


def delete_stored_key(connection: Connection) -> None:
    """Delete the key that Prefect stores in the database."""
    import sqlalchemy as sa

    configuration = table(connection, "configuration")
    assert configuration is not None
    connection.execute(sa.delete(configuration).where(configuration.c.key == _STORED))


def table(connection: Connection, name: str) -> Any:
    """Return a table of the database, None if it does not exist."""
    import sqlalchemy as sa

    if not sa.inspect(connection).has_table(name):
        return None
    return sa.Table(name, sa.MetaData(), autoload_with=connection, resolve_fks=False)


def engine(url: str) -> Engine:
    """Return a synchronous engine for a database URL in the format of Prefect."""
    import sqlalchemy as sa

    parsed = sa.make_url(url)
    backend = parsed.get_backend_name()
    query = dict(parsed.query)
    if ssl := query.pop("ssl", None):
        query["sslmode"] = ssl
    return sa.create_engine(
        parsed.set(drivername={"postgresql": "postgresql+psycopg"}.get(backend, backend), query=query)
    )


def without_password(url: str) -> str:
    """Return the URL of a database with its password masked."""
    import sqlalchemy as sa

    return sa.make_url(url).render_as_string(hide_password=True)


def block_names(names: Sequence[str]) -> str:
    """Return the names of blocks as text, the first ten at most."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"block{'s' if len(names) > 1 else ''} {', '.join(names[:_LISTED])}{more}"


def sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite database, None for other databases."""
    import sqlalchemy as sa

    parsed = sa.make_url(url)
    return Path(parsed.database or ":memory:") if parsed.get_backend_name() == "sqlite" else None


@contextmanager
def _connected(url: str) -> Iterator[Connection | None]:
    """Yield a connection, or None if there is no database yet or SQLite cannot read it (the server reports that)."""
    import sqlalchemy as sa

    file = sqlite_file(url)
    if file is not None and not file.is_file():
        yield None
        return
    database = engine(url)
    try:
        with database.connect() as connection:
            if file is not None and not _is_readable(lambda: connection.exec_driver_sql("PRAGMA schema_version")):
                yield None
                return
            yield connection
    except sa.exc.OperationalError as error:
        raise EncryptionError(
            f"Prefect's database {without_password(url)} does not answer: {error.orig}. Start it, or correct its URL"
        ) from error
    finally:
        database.dispose()


def _is_readable(query: Callable[[], object]) -> bool:
    import sqlalchemy as sa

    try:
        query()
    except sa.exc.DatabaseError:
        return False
    return True
