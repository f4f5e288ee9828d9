"""`python -m ai_workflow.local.rekey`: encrypt the blocks of a Prefect server with another key, all or none.

The new key is PREFECT_ENCRYPTION_KEY; without it Prefect stores one in its database. PREFECT_OLD_ENCRYPTION_KEY holds
the previous key, or several separated by commas; a key stored in the database needs no variable.
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

from cyclopts import App, Parameter

from ai_workflow.local import encryption, server
from ai_workflow.local.encryption import Block, EncryptionError
from ai_workflow.local.stack import database
from ai_workflow.local.stack.paths import StackPaths
from ai_workflow.provisioning.blocks import block_catalogue
from ai_workflow.runtime import command_line

if TYPE_CHECKING:
    from cryptography.fernet import Fernet
    from sqlalchemy import Connection

VAR = Path("var")
OLD_VARIABLE = "PREFECT_OLD_ENCRYPTION_KEY"
_URL_VARIABLES = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")
app = App(
    name="python -m ai_workflow.local.rekey", help=__doc__, version_flags=[], default_parameter=Parameter(negative=())
)


@dataclass(frozen=True, slots=True)
class RekeyResult:
    """Blocks that were encrypted again, that had the new key already, and that were deleted."""

    reencrypted: list[str]
    kept: list[str]
    deleted: list[str]


def change(url: str, new: str | None, old: Sequence[str], *, delete_unreadable: bool = False) -> RekeyResult:
    """Encrypt every block of a database with another key; no server may use the database meanwhile.

    Args:
        url: the URL of the database, in the format of Prefect.
        new: the new key; None for one that Prefect stores in the database.
        old: the previous keys; a key stored in the database is tried as well.
        delete_unreadable: whether blocks that none of the keys decrypts are deleted.

    Raises:
        EncryptionError: none of the keys decrypts a block; nothing is changed.
    """
    file = encryption.sqlite_file(url)
    if file is not None and not file.is_file():
        raise EncryptionError(f"the Prefect database {file} does not exist. Pass another with --database-url")
    keys = [encryption.fernet(key, OLD_VARIABLE) for key in old]
    target = encryption.fernet(new, encryption.VARIABLE) if new else None
    engine = encryption.engine(url)
    try:
        with engine.begin() as connection:
            if file is not None:
                # Replaced data is overwritten in the file, and other programs cannot write meanwhile.
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
) -> RekeyResult:
    stored = encryption.stored_key(connection)
    database_keys = [encryption.fernet(stored, "the key in Prefect's database")] if stored else []
    target = new or (database_keys[0] if database_keys else _new_stored_key(connection))
    blocks = encryption.blocks(connection)
    contents = {block.name: encryption.decrypted(block, [target, *old, *database_keys]) for block in blocks}
    undecryptable = [block for block in blocks if contents[block.name] is None]
    if undecryptable and not delete_unreadable:
        raise EncryptionError(
            f"Prefect's database {encryption.without_password(url)}: "
            f"{encryption.block_names([block.name for block in undecryptable])} cannot be decrypted with any of the "
            f"keys. Nothing was changed. Set {OLD_VARIABLE} to the keys that they were saved with, or "
            "delete them with --delete-unreadable and enter them again"
        )
    reencrypted = []
    for block in blocks:
        content = contents[block.name]
        if content is not None and encryption.decrypted(block, [target]) is None:
            _write(connection, block, target.encrypt(content).decode())
            reencrypted.append(block.name)
    _delete(connection, undecryptable)
    if new is not None and stored:
        encryption.delete_stored_key(connection)
    deleted = [block.name for block in undecryptable]
    kept = [block.name for block in blocks if block.name not in {*reencrypted, *deleted}]
    return RekeyResult(reencrypted, kept, deleted)


def _write(connection: Connection, block: Block, data: str) -> None:
    import sqlalchemy as sa

    documents = encryption.table(connection, "block_document")
    connection.execute(sa.update(documents).where(documents.c.id == block.id).values(data=data))


def _delete(connection: Connection, blocks: Sequence[Block]) -> None:
    """Delete blocks, and all references to and from them."""
    import sqlalchemy as sa

    ids = [block.id for block in blocks]
    if not ids:
        return
    documents = encryption.table(connection, "block_document")
    references = encryption.table(connection, "block_document_reference")
    between = (references.c.parent_block_document_id, references.c.reference_block_document_id)
    connection.execute(sa.delete(references).where(sa.or_(*(column.in_(ids) for column in between))))
    connection.execute(sa.delete(documents).where(documents.c.id.in_(ids)))


def _new_stored_key(connection: Connection) -> Fernet:
    """Return a new key, stored in the database as Prefect does when none is configured."""
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
        database_url: URL of the database; PREFECT_SERVER_DATABASE_CONNECTION_URL, else the file in `var`, if not given.
        postgresql: Use the PostgreSQL of `make up DB=postgresql`.
        delete_unreadable: Delete the blocks that none of the keys decrypts.
    """
    old = [key.strip() for key in os.environ.get(OLD_VARIABLE, "").split(",") if key.strip()]
    new = encryption.configured_key(os.environ)
    url = database_url or next((os.environ[name] for name in _URL_VARIABLES if os.environ.get(name)), None)
    if url is None or postgresql:
        _refuse_running()
    if postgresql:
        with database.running(StackPaths(VAR)) as stack_url:
            done = change(stack_url, new, old, delete_unreadable=delete_unreadable)
    else:
        file = f"sqlite:///{VAR.resolve() / 'prefect' / 'prefect.db'}"
        done = change(url or file, new, old, delete_unreadable=delete_unreadable)
    print("\n".join(_report(done)))


def _refuse_running() -> None:
    """Raise if the server that uses the database runs.

    Raises:
        EncryptionError: the server of make run or make up runs.
    """
    for is_running, stop in ((StackPaths(VAR).running_state(), "make down"), (server.local_server(VAR), "make stop")):
        if is_running:
            raise EncryptionError(f"the database of {VAR / 'prefect'} is in use by a Prefect server. Stop it: {stop}")


def _report(done: RekeyResult) -> list[str]:
    lines = [f"block {name}: encrypted again" for name in done.reencrypted]
    lines += [f"block {name}: deleted. {_remedy(name)}" for name in done.deleted]
    if done.kept:
        lines.append(f"{len(done.kept)} had the new key already")
    return lines or ["nothing to change"]


def _remedy(name: str) -> str:
    """Return how to restore a block."""
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
    """Run the command line; errors are printed as one message without a traceback."""
    return command_line.exit_code(lambda: app(result_action="return_value"))


if __name__ == "__main__":
    sys.exit(main())
