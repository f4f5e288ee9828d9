"""An HTTP client that does as Prefect's own: what a busy server answers with 503 is asked again."""

from __future__ import annotations

import time
from typing import Any

import httpx

_TRIES = 20


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
