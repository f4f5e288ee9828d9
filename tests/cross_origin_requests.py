"""Requests as browsers send them for pages of other sites, and for the page of the server itself."""

from __future__ import annotations

import httpx

# Each is one that a browser can be made to send by a page of another site.
FOREIGN: dict[str, dict[str, str]] = {
    "script of another site": {"origin": "http://elsewhere.example"},
    "script on another port of this machine": {"origin": "http://127.0.0.1:1"},
    "sandboxed frame or file": {"origin": "null"},
    "site with a similar name": {"origin": "http://localhost.elsewhere.example"},
    "DNS rebinding": {"host": "elsewhere.example"},
    "DNS rebinding with its own origin": {"host": "elsewhere.example:80", "origin": "http://elsewhere.example:80"},
    "DNS rebinding by a name without dots": {"host": "elsewhere"},
    "image or script element": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
    "image on another port": {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
    "frame": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
}


def own(url: str) -> dict[str, dict[str, str]]:
    """Return the headers of requests that a server at a URL of loopback is to answer."""
    port = httpx.URL(url).port or 80
    return {
        "no browser": {},
        "the page of the server": {"origin": f"http://127.0.0.1:{port}", "sec-fetch-site": "same-origin"},
        "the page by its other name": {"host": f"localhost:{port}", "origin": f"http://localhost:{port}"},
        "an address": {"host": f"[::1]:{port}"},
    }


def link() -> dict[str, str]:
    """Return the headers of a click on a link that leads from another site to a page of the server."""
    return {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


def status(url: str, headers: dict[str, str], method: str = "GET", **body: object) -> int:
    """Return the status of an answer; a refusal must hold nothing but its reason."""
    answer = httpx.request(method, url, headers=headers, trust_env=False, timeout=60, **body)  # type: ignore[arg-type]
    if answer.status_code == httpx.codes.FORBIDDEN:
        assert set(answer.json()) in ({"error"}, {"detail"}), answer.text
        assert "access-control-allow-origin" not in answer.headers
    return answer.status_code
