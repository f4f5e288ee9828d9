"""`serve_mlserver.py MODEL PORT FOLDER [WORKERS]`: MLServer with its own LightGBM runtime, by its own command line."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    model, port, folder, *workers = sys.argv[1:]
    settings = {
        # Without it every request is logged.
        "debug": False,
        "host": "127.0.0.1",
        "http_port": int(port),
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        **({"parallel_workers": int(workers[0])} if workers else {}),
    }
    trees = {
        "name": "trees",
        "implementation": "mlserver_lightgbm.LightGBMModel",
        "parameters": {"uri": model, "version": "v1"},
    }
    (Path(folder) / "settings.json").write_text(json.dumps(settings))
    (Path(folder) / "model-settings.json").write_text(json.dumps(trees))
    os.chdir(folder)
    os.execv(sys.executable, [sys.executable, "-c", "from mlserver.cli import main; main()", "start", "."])  # noqa: S606  nothing to quote
