"""The label join in DuckDB: LABELS PREDICTIONS MEMORY_LIMIT; prints how many pairs were joined."""

from __future__ import annotations

import sys
import tempfile

import duckdb

# The last label by time counts, the first time that it was sent is kept, and the first prediction of a key.
JOIN = """
WITH events AS (SELECT DISTINCT key, time, label FROM read_parquet($labels)),
last AS (SELECT key, max_by(label, (time, label)) AS label, max(time) AS time FROM events GROUP BY key),
first AS (SELECT key, label, min(time) AS first FROM events GROUP BY key, label),
matches AS (
  SELECT key, arg_min(version, (made, version, prediction)) AS version,
         arg_min(prediction, (made, version, prediction)) AS prediction, min(made) AS made
  FROM read_parquet($predictions) GROUP BY key)
SELECT matches.*, last.label, last.time, first.first
FROM matches JOIN last USING (key) JOIN first ON first.key = last.key AND first.label = last.label
"""


def main(labels: str, predictions: str, memory_limit: str) -> None:
    """Join, and read the result in batches as a stage would."""
    joined = 0
    with tempfile.TemporaryDirectory() as folder:
        settings = {"memory_limit": memory_limit, "temp_directory": folder, "preserve_insertion_order": False}
        with duckdb.connect(f"{folder}/join.db", config=settings) as connection:
            result = connection.execute(JOIN, {"labels": labels, "predictions": predictions})
            while rows := len(result.fetchmany(50_000)):
                joined += rows
    print(joined)


if __name__ == "__main__":
    main(*sys.argv[1:])
