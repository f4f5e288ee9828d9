"""`serve_fastapi.py MODEL PORT FOLDER`: the service that most people write by hand, a `def` handler with pydantic."""

from __future__ import annotations

import sys

import lightgbm
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Rows(BaseModel):
    """Rows of numbers."""

    rows: list[list[float]]


def app(model: str) -> FastAPI:
    """Return the service of one model."""
    service, booster = FastAPI(), lightgbm.Booster(model_file=model)

    @service.get("/ready")
    def ready() -> str:
        return "ready"

    @service.post("/predict")
    def predict(request: Rows) -> dict[str, list[float]]:
        return {"scores": booster.predict(np.array(request.rows), num_threads=1).tolist()}

    return service


if __name__ == "__main__":
    uvicorn.run(app(sys.argv[1]), port=int(sys.argv[2]), access_log=False, log_level="warning")
