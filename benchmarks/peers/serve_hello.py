"""`serve_hello.py MODEL PORT FOLDER`: what no Python service on uvicorn can be quicker than; it reads nothing."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn

_BODY = b'{"hello":"world"}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer the same to everything."""
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[2]), loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="error"
    )
