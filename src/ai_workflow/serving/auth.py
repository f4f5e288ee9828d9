"""Bearer-token authentication of clients, label senders and administrators (constant-time comparison)."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from ai_workflow.config.settings import Service
from ai_workflow.config.settings.service import same_tokens
from ai_workflow.errors import AiWorkflowError
from ai_workflow.secret_values import Fetch


class Authenticator:
    """The tokens of a service.

    Args:
        service: the settings with the tokens.
        fetch: looks up secrets before the environment, if given.

    Raises:
        MissingSecretError: the value of a token is not set.
        AiWorkflowError: two tokens are equal, so that one would grant the rights of the other.
    """

    def __init__(self, service: Service, fetch: Fetch | None = None) -> None:
        self._token = service.token.reveal(fetch).encode() if service.token else None
        self._admin = service.admin_token.reveal(fetch).encode() if service.admin_token else None
        self._label = service.label_token.reveal(fetch).encode() if service.label_token else None
        tokens = {"token": self._token, "admin_token": self._admin, "label_token": self._label}
        if problem := same_tokens({name: token for name, token in tokens.items() if token is not None}):
            raise AiWorkflowError(problem)

    @property
    def has_admin_token(self) -> bool:
        """Whether the admin routes exist."""
        return self._admin is not None

    @property
    def accepts_labels(self) -> bool:
        """Whether labels are accepted: with a label token, or if the service has no token at all."""
        return self._label is not None or (self._token is None and self._admin is None)

    def can_send_labels(self, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether a client may send labels."""
        return self._label is None or _has_token(headers, self._label)

    def can_predict(self, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether a client may send inference requests and read metadata."""
        return self._token is None or _has_token(headers, self._token)

    def can_administer(self, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether a client may use the admin routes."""
        return self._admin is not None and _has_token(headers, self._admin)


def _has_token(headers: Mapping[bytes, bytes], token: bytes) -> bool:
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(credentials.strip(), token)
