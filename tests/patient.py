"""Prefect's own client, and a person at its UI: what a busy server answers with 503 is asked again."""

from __future__ import annotations

import time
from typing import Any

import httpx
from playwright.sync_api import Locator, Page

_TRIES = 20
_PRESSES = 10


class Patient(httpx.HTTPTransport):
    """Asks again for two seconds, as SQLite takes one writer at a time; then the 503 is the answer."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and return its answer."""
        for _ in range(_TRIES):
            answer = super().handle_request(request)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            answer.close()
            time.sleep(0.1)
        else:
            return super().handle_request(request)
        return answer


def client(base_url: str, **options: Any) -> httpx.Client:
    """Return a client of a Prefect server; no proxy of the environment is asked."""
    return httpx.Client(base_url=base_url, transport=Patient(), timeout=30, trust_env=False, **options)


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
