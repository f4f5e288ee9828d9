"""`python -m ai_workflow.local.rekey`: encrypts the blocks of a Prefect server with another key, all of them or none.

The new key is PREFECT_ENCRYPTION_KEY; without it Prefect keeps one in its database. PREFECT_OLD_ENCRYPTION_KEY is the
key of before, or several with commas between them; the key that the database holds needs no variable.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from ai_workflow.local import encryption, server
from ai_workflow.local.encryption import Block, EncryptionError
from ai_workflow.local.stack import database
from ai_workflow.local.stack.paths import Place
from ai_workflow.provisioning.blocks import block_catalogue
from ai_workflow.runtime import command_line

if TYPE_CHECKING:
    from cryptography.fernet import Fernet
    from sqlalchemy import Connection

VAR = Path("var")
OLD_VARIABLE = "PREFECT_OLD_ENCRYPTION_KEY"
_URL_VARIABLES = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")
app = App(name="python -m ai_workflow.local.rekey", help=__doc__, version_flags=[])


@dataclass(frozen=True, slots=True)
class Changed:
    """The blocks that were encrypted again, those that had the new key already, and those that were deleted."""

    again: list[str]
    kept: list[str]
    deleted: list[str]


def change(url: str, new: str | None, old: Sequence[str], *, delete_unreadable: bool = False) -> Changed:
    """Encrypt every block of a database with another key; no server must use the database meanwhile.

    Args:
        url: the database's address, as Prefect takes it.
        new: the key from now on; None for one that Prefect keeps in the database.
        old: the keys of before; the one that the database holds is tried as well.
        delete_unreadable: whether blocks that none of the keys decrypts are deleted.

    Raises:
        EncryptionError: none of the keys decrypts a block; nothing is changed.
    """
    file = encryption.sqlite_file(url)
    if file is not None and not file.is_file():
        raise EncryptionError(f"Prefect's database {file}: there is none. Name another with --database")
    keys = [encryption.fernet(key, OLD_VARIABLE) for key in old]
    target = encryption.fernet(new, encryption.VARIABLE) if new else None
    engine = encryption.engine(url)
    try:
        with engine.begin() as connection:
            if file is not None:
                # What is replaced is overwritten in the file, and no other program writes meanwhile.
                connection.exec_driver_sql("PRAGMA secure_delete = ON")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            done = _change(connection, url, target, keys, delete_unreadable)
        if file is not None:
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return done
    finally:
        engine.dispose()


def _change(
    connection: Connection, url: str, new: Fernet | None, old: Sequence[Fernet], delete_unreadable: bool
) -> Changed:
    stored = encryption.stored_key(connection)
    of_database = [encryption.fernet(stored, "the key in Prefect's database")] if stored else []
    target = new or (of_database[0] if of_database else _new_stored_key(connection))
    blocks = encryption.blocks(connection)
    plain = {block.name: encryption.decrypted(block, [target, *old, *of_database]) for block in blocks}
    lost = [block for block in blocks if plain[block.name] is None]
    if lost and not delete_unreadable:
        raise EncryptionError(
            f"Prefect's database {encryption.shown(url)}: "
            f"{encryption.listed([block.name for block in lost])} cannot be decrypted with any of the keys. "
            f"Nothing was changed. Set {OLD_VARIABLE} to the keys that they were saved with, or "
            "delete them with --delete-unreadable and enter them again"
        )
    again = []
    for block in blocks:
        content = plain[block.name]
        if content is not None and encryption.decrypted(block, [target]) is None:
            _write(connection, block, target.encrypt(content).decode())
            again.append(block.name)
    _delete(connection, lost)
    if new is not None and stored:
        encryption.forget_stored_key(connection)
    deleted = [block.name for block in lost]
    kept = [block.name for block in blocks if block.name not in {*again, *deleted}]
    return Changed(again, kept, deleted)


def _write(connection: Connection, block: Block, data: str) -> None:
    import sqlalchemy as sa

    documents = encryption.table(connection, "block_document")
    connection.execute(sa.update(documents).where(documents.c.id == block.id).values(data=data))


def _delete(connection: Connection, lost: Sequence[Block]) -> None:
    """Delete blocks, and the references between them and others."""
    import sqlalchemy as sa

    ids = [block.id for block in lost]
    if not ids:
        return
    documents = encryption.table(connection, "block_document")
    references = encryption.table(connection, "block_document_reference")
    between = (references.c.parent_block_document_id, references.c.reference_block_document_id)
    connection.execute(sa.delete(references).where(sa.or_(*(column.in_(ids) for column in between))))
    connection.execute(sa.delete(documents).where(documents.c.id.in_(ids)))


def _new_stored_key(connection: Connection) -> Fernet:
    """Return a new key, kept in the database as Prefect does where it is given none."""
    import sqlalchemy as sa
    from cryptography.fernet import Fernet

    key = Fernet.generate_key().decode()
    configuration = encryption.table(connection, "configuration")
    now = datetime.now(UTC)
    row = {"key": "ENCRYPTION_KEY", "value": {"fernet_key": key}, "created": now, "updated": now}
    kind = uuid.UUID if isinstance(configuration.c.id.type, sa.UUID) else str
    connection.execute(sa.insert(configuration).values(id=kind(str(uuid.uuid4())), **row))
    return Fernet(key.encode())


@app.default
def rekey(*, database_url: str | None = None, postgresql: bool = False, delete_unreadable: bool = False) -> None:
    """Encrypt every block with another key; stop the server first.

    Args:
        database_url: address of the database, if not in PREFECT_SERVER_DATABASE_CONNECTION_URL; else that of `var`.
        postgresql: take the PostgreSQL of `make up DB=postgresql`.
        delete_unreadable: delete the blocks that none of the keys decrypts.
    """
    old = [key.strip() for key in os.environ.get(OLD_VARIABLE, "").split(",") if key.strip()]
    new = encryption.key_of(os.environ)
    given = database_url or next((os.environ[name] for name in _URL_VARIABLES if os.environ.get(name)), None)
    if given is None or postgresql:
        _refuse_running()
    if postgresql:
        with database.running(Place(VAR)) as url:
            done = change(url, new, old, delete_unreadable=delete_unreadable)
    else:
        file = f"sqlite:///{VAR.resolve() / 'prefect' / 'prefect.db'}"
        done = change(given or file, new, old, delete_unreadable=delete_unreadable)
    print("\n".join(_report(done)))


def _refuse_running() -> None:
    """Refuse to change the database of a server that runs.

    Raises:
        EncryptionError: the server of make run or make up runs.
    """
    for is_running, stop in ((Place(VAR).running(), "make down"), (server.own(VAR), "make stop")):
        if is_running:
            raise EncryptionError(f"the database of {VAR / 'prefect'} is in use by a Prefect server. Stop it: {stop}")


def _report(done: Changed) -> list[str]:
    lines = [f"block {name}: encrypted again" for name in done.again]
    lines += [f"block {name}: deleted. {_remedy(name)}" for name in done.deleted]
    if done.kept:
        lines.append(f"{len(done.kept)} had the new key already")
    return lines or ["nothing to change"]


def _remedy(name: str) -> str:
    """Return how a block is made again."""
    variables = {f"secret/{block.name}": block.variable for block in block_catalogue.secrets()}
    variables |= {
        f"chat-channel/{block.name}": ", ".join(block.variables.values()) for block in block_catalogue.chats()
    }
    if name in variables:
        return f"Set {variables[name]} at the next make up, make deploy or bootstrap"
    if name == "webhook/alert-relay":
        return "The next make up, make deploy or bootstrap makes it again"
    return "Enter it again in the UI"


def main() -> int:
    """Run the command line; an error is one message without a traceback."""
    return command_line.exit_code(lambda: app(result_action="return_value"))


if __name__ == "__main__":
    sys.exit(main())
