"""`serve_litserve.py MODEL PORT FOLDER`: LitServe as its documentation shows it, all else at its defaults."""

import sys
from typing import Any

import lightgbm
import litserve
import numpy as np


class Trees(litserve.LitAPI):
    """One model, one row at a time."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model

    def setup(self, device: str) -> None:
        """Load the model, in the worker process."""
        self._booster = lightgbm.Booster(model_file=self._model)

    def decode_request(self, request, **_: Any) -> np.ndarray:
        """Return the rows of a request; LitServe takes a type given here for that of a query."""
        return np.array(request["rows"])

    def predict(self, x: np.ndarray, **_: Any) -> np.ndarray:
        """Return the scores of the model."""
        return self._booster.predict(x, num_threads=1)

    def encode_response(self, output: np.ndarray, **_: Any) -> dict[str, list[float]]:
        """Return the answer."""
        return {"scores": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Trees(sys.argv[1]), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False, generate_client_file=False
    )
