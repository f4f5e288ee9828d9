"""Who may ask: bearer tokens, compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from ai_workflow.secrets import Fetch
from ai_workflow.settings import Service


class Gate:
    """The tokens of a service.

    Raises:
        SecretMissing: a token is named, and nobody knows it.
    """

    def __init__(self, service: Service, fetch: Fetch | None = None) -> None:
        self._token = service.token.reveal(fetch).encode() if service.token else None
        self._admin = service.admin_token.reveal(fetch).encode() if service.admin_token else None

    @property
    def has_admin(self) -> bool:
        """Whether there are admin routes."""
        return self._admin is not None

    def admits(self, headers: Mapping[bytes, bytes]) -> bool:
        """Say whether a caller may ask."""
        return self._token is None or _bears(headers, self._token)

    def admits_admin(self, headers: Mapping[bytes, bytes]) -> bool:
        """Say whether a caller may use the admin routes."""
        return self._admin is not None and _bears(headers, self._admin)


def _bears(headers: Mapping[bytes, bytes], token: bytes) -> bool:
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), token)
