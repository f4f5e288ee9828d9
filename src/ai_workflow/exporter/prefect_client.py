"""Requests to a Prefect server over HTTP, because importing Prefect needs 80 MB."""

from __future__ import annotations

import base64
import ssl
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from ai_workflow.errors import AiWorkflowError
from ai_workflow.prefect_errors import explain

_TIMEOUT_SECONDS = 5.0
_PAGE_SIZE = 200


class PrefectRequestError(AiWorkflowError):
    """The Prefect API refused a request."""


class PrefectClient:
    """Client of the API of a Prefect server.

    Args:
        url: URL of the API, such as `http://host:4200/api`.
        env: environment variables with PREFECT_API_KEY or PREFECT_API_AUTH_STRING, and PREFECT_API_SSL_CERT_FILE or
            PREFECT_API_TLS_INSECURE_SKIP_VERIFY.
        seconds: the longest time to wait for a response.
    """

    def __init__(self, url: str, env: Mapping[str, str], seconds: float = _TIMEOUT_SECONDS) -> None:
        self._client = httpx.Client(
            base_url=url.rstrip("/"), headers=_credentials(env), timeout=seconds, verify=_certificates(env)
        )

    def get(self, path: str) -> httpx.Response:
        """Return the response to a GET request.

        Raises:
            PrefectRequestError: the server rejected the request.
            httpx.HTTPError: the server does not respond.
        """
        return _accepted(self._client.get(path))

    def all(self, path: str, filters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return all items of a filter endpoint, such as `/flows/filter`.

        Raises:
            PrefectRequestError: the server rejected the request.
            httpx.HTTPError: the server does not respond.
        """
        items: list[dict[str, Any]] = []
        while True:
            body = {**(filters or {}), "limit": _PAGE_SIZE, "offset": len(items)}
            page = _accepted(self._post(path, body)).json()
            items += page
            if len(page) < _PAGE_SIZE:
                return items

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        response = self._client.post(path, json=body)
        if response.status_code == httpx.codes.FORBIDDEN and self._fetch_csrf_token():
            response = self._client.post(path, json=body)
        return response

    def _fetch_csrf_token(self) -> bool:
        """Request a new CSRF token, because the old one may have expired.

        Return whether the server issued one.
        """
        client = str(uuid.uuid4())
        response = self._client.get("/csrf-token", params={"client": client})
        if response.status_code == httpx.codes.UNAUTHORIZED:
            # Prefect checks the CSRF token before the login, so the missing login must be reported here.
            raise PrefectRequestError(explain(_status_error(response)))
        if response.is_success:
            token = response.json()["token"]
            self._client.headers.update({"Prefect-Csrf-Client": client, "Prefect-Csrf-Token": token})
        return response.is_success


def _accepted(response: httpx.Response) -> httpx.Response:
    try:
        return response.raise_for_status()
    except httpx.HTTPStatusError as error:
        raise PrefectRequestError(explain(error)) from error


def _status_error(response: httpx.Response) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError("", request=response.request, response=response)


def _credentials(env: Mapping[str, str]) -> dict[str, str]:
    if key := env.get("PREFECT_API_KEY"):
        return {"authorization": f"Bearer {key}"}
    if login := env.get("PREFECT_API_AUTH_STRING"):
        return {"authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
    return {}


def _certificates(env: Mapping[str, str]) -> ssl.SSLContext | bool:
    """Return the trusted certificates, as Prefect's client reads them.

    Raises:
        PrefectRequestError: the file of PREFECT_API_SSL_CERT_FILE cannot be read.
    """
    if env.get("PREFECT_API_TLS_INSECURE_SKIP_VERIFY", "").lower() in ("1", "true", "yes", "on"):
        return False
    file = env.get("PREFECT_API_SSL_CERT_FILE")
    if not file:
        return True
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:
        raise PrefectRequestError(
            f"PREFECT_API_SSL_CERT_FILE={file} cannot be read: {error.strerror or error}. Correct the path"
        ) from error


def of_environment(deployments: Sequence[Mapping[str, Any]], environment: str) -> list[Mapping[str, Any]]:
    """Return the deployments of an environment, with those that name none; all if the server has none of it."""
    names = [(deployment.get("parameters") or {}).get("environment") for deployment in deployments]
    if environment not in names:
        return list(deployments)
    return [each for each, name in zip(deployments, names, strict=True) if name in (None, "", environment)]
