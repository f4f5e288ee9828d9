"""`python -m benchmarks.customers FILE ROWS`: writes made-up customers as CSV, 12 columns, always the same."""

from __future__ import annotations

import sys
from pathlib import Path

from ai_workflow.sources import synthetic

# What a customer spends next month is another task's target.
_LEFT_OUT = ["amount"]
# One thread: how several share the cores with the server is no overhead of a flow, and would drown it.
PIPELINE = """\
pipeline: benchmark
task: classification
source: {{kind: csv, path: "{path}"}}
id: id
target: target
trainer: {{kind: lightgbm, steps: 30, params: {{num_threads: 1}}}}
evaluate: {{holdout: 0.2, metric: accuracy, minimum: 0.7}}
"""


def write(path: Path, rows: int) -> None:
    """Write the first `rows` customers."""
    import pyarrow as pa
    from pyarrow import csv

    blocks = [synthetic.block(number) for number in range(-(-rows // synthetic.BLOCK))]
    csv.write_csv(pa.concat_tables(blocks).slice(0, rows).drop_columns(_LEFT_OUT), path)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
