"""`python -m ai_workflow.local.health URL`: health check of a container whose image has no curl."""

from __future__ import annotations

import http.client
import sys
import urllib.error
import urllib.request
from base64 import b64encode

SECONDS = 5.0
# A guard (`ai_workflow.local.guard`) answers here without a login; the server behind it is not checked.
GUARD_PATH = "/-/guard"


def problem(url: str, seconds: float = SECONDS, *, login: str = "") -> str | None:
    """Return why a server is not healthy, None if it is; proxies of the environment are not used.

    Args:
        url: the URL of a health check, which responds with 200 if the server is healthy.
        seconds: the longest time to wait.
        login: as `user:password`, for a server that requires one.
    """
    if not url.startswith(("http://", "https://")):
        return f"{url} is not a URL. Give one such as http://127.0.0.1:8080/v2/health/live"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"authorization": f"Basic {b64encode(login.encode()).decode()}"} if login else {}
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=seconds):  # noqa: S310 - checked above
            return None
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code}"
    except (OSError, http.client.HTTPException) as error:
        return f"{url} does not answer: {getattr(error, 'reason', error)}"


def main(arguments: list[str]) -> int:
    """Print the problem of a server, and return the exit code: 0 healthy, 1 not healthy, 2 wrong usage."""
    if len(arguments) != 1:
        print(f"usage: python -m ai_workflow.local.health URL\n{__doc__}", file=sys.stderr)
        return 2
    reason = problem(arguments[0])
    if reason:
        print(reason, file=sys.stderr)
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
