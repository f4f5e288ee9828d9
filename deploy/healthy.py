"""`python -m deploy.healthy URL`: is it well? For health checks of containers, as a slim image has no curl."""

from __future__ import annotations

import http.client
import sys
import urllib.error
import urllib.request

SECONDS = 5.0


def problem(url: str, seconds: float = SECONDS) -> str | None:
    """Return what is wrong with what answers at a URL, None if nothing is; no proxy is asked."""
    if not url.startswith(("http://", "https://")):
        return f"{url} is no address: give one such as http://127.0.0.1:8080/v2/health/live"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=seconds):
            return None
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code}"
    except (OSError, http.client.HTTPException) as error:
        return f"{url} does not answer: {getattr(error, 'reason', error)}"


def main(arguments: list[str]) -> int:
    """Print what is wrong; the exit code is 0 if nothing is, 1 if something is, 2 without a URL."""
    if len(arguments) != 1:
        print(f"usage: python -m deploy.healthy URL\n{__doc__}", file=sys.stderr)
        return 2
    found = problem(arguments[0])
    if found:
        print(found, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
