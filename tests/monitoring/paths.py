"""Files of the project that the tests of monitoring read."""

from pathlib import Path

FOLDER = Path(__file__).parents[2] / "monitoring"
GENERATED = FOLDER / "generated"
SLO_FILE = FOLDER / "slo.yaml"
