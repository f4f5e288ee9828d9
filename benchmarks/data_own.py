"""The stages from CSV to features of the project as plain calls: PIPELINE; the store is `AIW_STORE`."""

from __future__ import annotations

import sys

# Imported before the clock starts, because the stages import them at their first use.
import pandas as pd
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from ai_workflow.config import loader
from ai_workflow.stages import data_loader, feature_engineering, preprocessor
from ai_workflow.storage.store import Store
from benchmarks.peers.data_job import Clock

_IMPORTED = (pd, pc, pyarrow)


def main(pipeline: str) -> None:
    """Load, clean and transform the rows."""
    settings = loader.load(pipeline).settings
    store = Store(settings.store.root)
    clock = Clock()
    loaded = data_loader.load(store, settings.source, data_loader.inspect(settings.source), settings.database)
    clean = preprocessor.preprocess(store, loaded, preprocessor.RowRules.of(settings))
    roles = feature_engineering.ColumnRoles.of(settings)
    featured = feature_engineering.fit(store, clean, roles, settings.features)
    clock.finish(clean["rows"], clean["rejected"], featured["rows"])


if __name__ == "__main__":
    main(sys.argv[1])
