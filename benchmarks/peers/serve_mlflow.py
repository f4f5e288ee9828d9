"""`serve_mlflow.py MODEL PORT FOLDER`: saves the model as MLflow does, then `mlflow models serve`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import lightgbm
import mlflow.lightgbm

if __name__ == "__main__":
    model, port, folder = sys.argv[1:4]
    saved = str(Path(folder) / "saved")
    mlflow.lightgbm.save_model(lightgbm.Booster(model_file=model), saved)
    # It starts uvicorn by name, and has no option for its access log.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ.update(PATH=path, UVICORN_ACCESS_LOG="false", MLFLOW_DISABLE_TELEMETRY="true")
    serve = ["models", "serve", "--model-uri", saved, "--host", "127.0.0.1", "--port", port]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *serve, "--env-manager", "local", "--workers", "1"])  # noqa: S606  nothing to quote
