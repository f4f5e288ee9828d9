"""`python -m benchmarks.bare_training [PIPELINE]`: the stages of the training flow as plain calls, without Prefect.

It mirrors `flows/training.py`; that both publish the very same model is checked wherever it is measured.
"""

from __future__ import annotations

import sys

from ai_workflow.config import loader
from ai_workflow.config.settings import Settings
from ai_workflow.evaluation import champion, quality_gate
from ai_workflow.registry.registry import Registry
from ai_workflow.stages import data_loader, evaluator, feature_engineering, preprocessor, registry, trainer
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import logs, trace_context


def main(pipeline: str | None) -> None:
    """Train, judge and publish a model."""
    s = loader.load(pipeline).settings
    store = Store(s.store.root)
    logs.setup(s.logging.level, s.logging.format)
    with trace_context.bound(trace_id=trace_context.new_id()):
        train(s, store)


def train(s: Settings, store: Store) -> None:
    """Run the stages in their order; each gets references to what earlier ones made."""
    loaded = data_loader.load(store, s.source, data_loader.inspect(s.source), s.database)
    clean = preprocessor.preprocess(store, loaded, preprocessor.RowRules.of(s))
    featured = feature_engineering.fit(store, clean, feature_engineering.ColumnRoles.of(s), s.features)
    trained = trainer.train(store, featured, s.trainer, s.training_batch_size)
    stable = champion.find(Registry(store, s.models), trained["fingerprint"])
    against = champion.ChampionOptions(version=stable, folder=s.models, timeout=s.model.timeout)
    evaluated = evaluator.evaluate(store, clean, featured, trained, quality_gate.QualityGate.of(s), against)
    registry.publish(store, featured, trained, evaluated, registry.RegistryOptions(folder=s.models))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
