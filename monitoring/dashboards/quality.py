"""The dashboard of models: accuracy with confidence bounds, labels, drift."""

from __future__ import annotations

from collections.abc import Sequence

from ai_workflow.slo.spec import Spec
from monitoring.dashboards.panels import Board, Panel, Query, Row, Variable, limits

_WHICH = '{pipeline=~"$pipeline",model_version=~"$model_version"}'
_LEGEND = "{{pipeline}} {{model_version}}"


def board(spec: Spec, links: Sequence[tuple[str, str]]) -> Board:
    """Return the dashboard of models."""
    return Board(
        title="AI workflow: models",
        description="Accuracy, labels and drift of each version.",
        variables=(
            Variable("pipeline", "Pipeline", "model_registry_info"),
            Variable("model_version", "Version", "model_registry_info"),
        ),
        events=(Query("model_published_timestamp_seconds * 1000", "Version published"),),
        links=links,
        rows=(_accuracy(spec), _labels(spec), _drift(spec), _service(spec)),
    )


def _each(metric: str, column: str) -> Query:
    """Return a column of the table, keyed by pipeline and version."""
    each = f"max by (pipeline, model_version) ({metric}{_WHICH})"
    return Query(f'label_join({each}, "version", " ", "pipeline", "model_version")', column)


def _accuracy(spec: Spec) -> Row:
    objective = tuple(float(slo.objective / 100) for slo in spec.slos if slo.kind == "accuracy" and slo.objective)
    return "Accuracy", (
        Panel("Accuracy", "Accuracy of the labeled predictions in the window, with the 95 % bounds.",
              "graph", "percentunit", 16,
              (Query(f"model_accuracy_current{_WHICH}", _LEGEND),
               Query(f"model_accuracy_lower{_WHICH}", f"{_LEGEND} at least"),
               Query(f"model_accuracy_upper{_WHICH}", f"{_LEGEND} at most")), objective, True),
        Panel("Versions", "Accuracy of each version, and its number of labels.", "table", "short", 8,
              (_each("model_accuracy_current", "accuracy"), _each("model_accuracy_lower", "at least"),
               _each("model_accuracy_upper", "at most"), _each("model_labeled_predictions_window", "labels")),
              join="version"),
    )  # fmt: skip


def _labels(spec: Spec) -> Row:
    return "Labels", (
        Panel("Labels in the window", "Number of labeled predictions for the accuracy.", "graph", "short", 8,
              (Query(f"model_labeled_predictions_window{_WHICH}", _LEGEND),)),
        Panel("Since the last label", "Age of the last label.", "graph", "s", 8,
              (Query(f"time() - model_last_label_timestamp_seconds{_WHICH}", _LEGEND),),
              limits(spec, "ModelLabelsStale", "age")),
        Panel("Label delay", "Time from a prediction to its label.", "graph", "s", 8,
              (Query(f"model_label_delay_seconds{_WHICH}", f"{_LEGEND} q{{{{quantile}}}}"),)),
    )  # fmt: skip


def _unseen(spec: Spec) -> Panel:
    which = '{pipeline=~"$pipeline",model_version=~"$model_version"}[$__rate_interval]'
    each = f"sum by (job, pipeline, model_version, column) (rate(inference_unseen_category_total{which}))"
    rows = "sum by (job, pipeline, model_version) (rate(inference_rows_total[$__rate_interval]))"
    return Panel(
        "Unseen categories", "Share of the values of a column that are not in the training data.",
        "graph", "percentunit", 24,
        (Query(f"{each} / on (job, pipeline, model_version) group_left {rows}", f"{_LEGEND} {{{{column}}}}"),),
        limits(spec, "InferenceUnseenCategories", "ratio"),
    )  # fmt: skip


def _drift(spec: Spec) -> Row:
    psi = limits(spec, "FeatureDriftHigh", "psi")
    return "Drift", (
        Panel("Features", "Population stability index of the features with the largest drift.", "graph", "none", 12,
              (Query(f"feature_drift_psi{_WHICH}", f"{_LEGEND} {{{{feature}}}}"),), psi),
        Panel("Predictions", "Population stability index of the predictions, and its significance threshold.",
              "graph", "none", 12,
              (Query(f"prediction_drift_psi{_WHICH}", _LEGEND),
               Query(f"drift_threshold_psi{_WHICH}", f"{_LEGEND} threshold")), psi),
        _unseen(spec),
    )  # fmt: skip


def _service(_: Spec) -> Row:
    return "Service", (
        Panel("Breakers", "0 closed, 1 open, 2 half-open.", "states", "none", 12,
              (Query(f"max by (job, pipeline, model_version) (model_breaker_state{_WHICH})",
                     "{{job}} {{pipeline}} {{model_version}}"),), (1,)),
        Panel("Restarts", "Restarts of model processes within each interval.", "graph", "short", 12,
              (Query("sum by (job, pipeline, model_version, reason) "
                     f"(increase(model_worker_restarts_total{_WHICH}[$__rate_interval]))",
                     "{{job}} {{pipeline}} {{model_version}} {{reason}}"),)),
    )  # fmt: skip
