"""Prefect's own client, and a person at its UI: what a busy server answers with 503 is asked again."""

from __future__ import annotations

import time
import uuid
from typing import Any

import httpx
from playwright.sync_api import Locator, Page

_TRIES = 20
_PRESSES = 10
_CLIENT = f"tests-{uuid.uuid4()}"


class Patient(httpx.HTTPTransport):
    """Asks again for two seconds, as SQLite takes one writer at a time; then the 503 is the answer.

    A writing request without a CSRF token gets one, as Prefect's own client does; with `api` empty it does not.
    """

    def __init__(self, api: str = "") -> None:
        super().__init__()
        self._api = api
        self._token = ""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and return its answer."""
        if self._api and request.method != "GET" and "prefect-csrf-token" not in request.headers:
            self._token = self._token or self._new_token(request.headers.get("authorization"))
            if self._token:
                request.headers.update({"prefect-csrf-client": _CLIENT, "prefect-csrf-token": self._token})
        return self._sent(request)

    def _new_token(self, login: str | None) -> str:
        headers = {"authorization": login} if login else {}
        asked = httpx.Request("GET", f"{self._api}/csrf-token", params={"client": _CLIENT}, headers=headers)
        answer = self._sent(asked)
        answer.read()
        return str(answer.json()["token"]) if answer.is_success else ""

    def _sent(self, request: httpx.Request) -> httpx.Response:
        for _ in range(_TRIES):
            answer = super().handle_request(request)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            answer.close()
            time.sleep(0.1)
        else:
            return super().handle_request(request)
        return answer


def client(base_url: str, *, csrf: bool = True, **options: Any) -> httpx.Client:
    """Return a client of a Prefect server; no proxy of the environment is asked."""
    transport = Patient(base_url.rstrip("/") if csrf else "")
    return httpx.Client(base_url=base_url, transport=transport, timeout=240, trust_env=False, **options)


def press(page: Page, path: str, *buttons: Locator) -> Any:
    """Press what sends a form to a path, and return the answer; while SQLite is busy (503), as a person does: again."""
    for _ in range(_PRESSES):
        with page.expect_response(lambda reply: reply.url.endswith(path)) as told:
            for button in buttons:
                button.click()
        if told.value.status != httpx.codes.SERVICE_UNAVAILABLE:
            break
        page.wait_for_timeout(1000)
    assert told.value.ok, f"{path}: {told.value.status} {told.value.text()}"
    return told.value.json()
