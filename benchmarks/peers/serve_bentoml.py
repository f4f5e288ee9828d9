"""`serve_bentoml.py MODEL PORT FOLDER`: BentoML with an async method and one worker, by its own command line."""

import os
import sys
from pathlib import Path

import bentoml
import lightgbm
import numpy as np


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Trees:
    """One model; its metrics stay on, as they are by default."""

    def __init__(self) -> None:
        self._booster = lightgbm.Booster(model_file=os.environ["SERVED_MODEL"])

    @bentoml.api
    async def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return the scores of the model."""
        return self._booster.predict(rows, num_threads=1)


if __name__ == "__main__":
    model, port, folder = sys.argv[1:4]
    os.environ.update(SERVED_MODEL=model, BENTOML_HOME=folder, BENTOML_DO_NOT_TRACK="True")
    place = ["--working-dir", str(Path(__file__).parent), "--host", "127.0.0.1", "--port", port]
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", "serve", "serve_bentoml:Trees", *place])  # noqa: S606  nothing to quote
