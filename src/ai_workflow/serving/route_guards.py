"""Checks of tokens around the routes that Starlette handles."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ai_workflow.serving.auth import Authenticator

Endpoint = Callable[[Request], Awaitable[Response]]


class RouteGuards:
    """Wrappers that require a token before a route is called.

    Args:
        authenticator: the tokens.
    """

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def client(self, endpoint: Endpoint) -> Endpoint:
        """Require the client token, if one is configured."""

        async def guarded(request: Request) -> Response:
            if not self._authenticator.can_predict(dict(request.scope["headers"])):
                raise HTTPException(401, "no valid bearer token", {"www-authenticate": "Bearer"})
            return await endpoint(request)

        return guarded

    def label_sender(self, endpoint: Endpoint) -> Endpoint:
        """Require the label token; return 404 if only other tokens are configured."""

        async def guarded(request: Request) -> Response:
            if not self._authenticator.accepts_labels:
                raise HTTPException(404, "labels are not accepted: service.label_token is not set. Set it")
            if not self._authenticator.can_send_labels(dict(request.scope["headers"])):
                raise HTTPException(401, "no valid label token", {"www-authenticate": "Bearer"})
            return await endpoint(request)

        return guarded

    def admin(self, endpoint: Endpoint) -> Endpoint:
        """Require the admin token; return 404 if none is configured."""

        async def guarded(request: Request) -> Response:
            if not self._authenticator.has_admin_token:
                raise HTTPException(404, "there are no admin routes: service.admin_token is not set")
            if not self._authenticator.can_administer(dict(request.scope["headers"])):
                raise HTTPException(401, "no valid admin token", {"www-authenticate": "Bearer"})
            return await endpoint(request)

        return guarded
