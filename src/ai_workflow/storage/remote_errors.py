"""Classification of errors of HTTP and object store clients: unreachable, HTTP status, missing credentials."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator

from ai_workflow.secret_values import scrub

_REASONS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "the connection was reset",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "the network is unreachable",
    errno.ETIMEDOUT: "no answer in time",
}
_S3_CREDENTIALS = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run on a machine whose role may read it"
)
_NO_CREDENTIALS = (
    "unable to locate credentials",
    "partial credentials",
    "credentials were not found",
    "no credentials",
)


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, the outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def unreachable(error: BaseException) -> str | None:
    """Return why a host cannot be reached, None if no cause is a network error; the innermost cause decides."""
    return next(filter(None, map(_network, reversed(list(chain(error))))), None)


def status(error: BaseException) -> int:
    """Return the HTTP status of an error; 0 if it has none."""
    codes = (getattr(each, "status", None) for each in chain(error))
    return next((code for code in codes if isinstance(code, int) and code >= 400), 0)


def credentials_remedy(error: BaseException, protocol: str) -> str | None:
    """Return how to set credentials if the error is about missing ones, else None."""
    text = " ".join(map(str, chain(error))).lower()
    if not any(sign in text for sign in _NO_CREDENTIALS):
        return None
    return _S3_CREDENTIALS if protocol in ("s3", "s3a") else f"Set the credentials for {protocol}:// in the environment"


def _network(error: BaseException) -> str | None:
    if isinstance(error, socket.gaierror):
        return "the name of the host cannot be resolved"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {scrub(error.reason or str(error)).replace('_', ' ').lower()}"
    if isinstance(error, TimeoutError):
        return _REASONS[errno.ETIMEDOUT]
    if isinstance(error, OSError) and error.errno in _REASONS:
        return _REASONS[error.errno]
    if isinstance(error, ConnectionError):
        return scrub(str(error)) or (os.strerror(error.errno) if error.errno else "the connection was closed")
    return None
