"""Errors of finding and reading source files, as stage errors with a remedy."""

from __future__ import annotations

from http import HTTPStatus

from ai_workflow.errors import StageError, TransientError
from ai_workflow.secret_values import scrub
from ai_workflow.storage import memory_errors, remote_errors

_REACH = "Check the address, and that this machine may connect to it"
# Statuses of requests that may succeed later.
_PASSING = (408, 425, 429)


def stage_error(error: Exception, name: str, protocol: str, looked_in: str = "") -> StageError | None:
    """Return the stage error for an error of a file system; None if it is another error.

    Args:
        error: the error of the file system or of the client of a server.
        name: how a message names the file.
        protocol: the protocol of its path; `file` for a local disk.
        looked_in: the folder of a relative path, for the message.
    """
    if memory_errors.is_shortage(error):
        return None
    is_remote = protocol != "file"
    if is_remote and (code := remote_errors.status(error)):
        return _rejected(name, code)
    if is_remote and (reason := remote_errors.unreachable(error)):
        return TransientError(f"{name} cannot be reached: {reason}", _REACH)
    text = scrub(str(error)) or type(error).__name__
    if is_remote and (remedy := remote_errors.credentials_remedy(error, protocol)):
        return StageError(f"{name} cannot be read: {text}", remedy)
    if isinstance(error, FileNotFoundError):
        return StageError(f"{name} does not exist{looked_in}", "Correct source.path, or put the file there")
    if isinstance(error, PermissionError) or "credential" in text.lower():
        user = "these credentials" if is_remote else "this user"
        return StageError(f"{name} cannot be read: {text}", f"Give {user} the right to read it")
    if isinstance(error, OSError) or is_remote:
        return TransientError(f"{name} cannot be read: {text}", "Check the connection to the source")
    return None


def _rejected(file: str, code: int) -> StageError:
    name = f"HTTP {code} {HTTPStatus(code).phrase}" if code in HTTPStatus._value2member_map_ else f"HTTP {code}"
    if code in (404, 410):
        return StageError(f"{file} does not exist ({name})", "Correct source.path, or put the file there")
    if code in (401, 403):
        return StageError(f"{file} cannot be read: {name}", "Give the URL credentials that may read it")
    if code >= 500 or code in _PASSING:
        return TransientError(f"{file} cannot be read: {name}", "Run again once the server answers")
    return StageError(f"{file} cannot be read: {name}", "Correct source.path")
