"""Hyperparameter search: trials on the training rows, of which a killed run repeats at most the one in progress."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

from ai_workflow.config.settings import METRICS, ConfigModel, Search, Settings, Trainer
from ai_workflow.datasets import fingerprint, partition_cache
from ai_workflow.datasets.partitions import Dataset
from ai_workflow.errors import DeviceError, OwnCodeError, StageError, TransientError
from ai_workflow.evaluation import own_metrics, scores
from ai_workflow.evaluation.quality_gate import QualityGate
from ai_workflow.evaluation.report import SearchReport, Trial
from ai_workflow.evaluation.score_options import ScoreOptions
from ai_workflow.evaluation.search import search_report
from ai_workflow.runtime.memory_pressure import MemoryExhaustedError
from ai_workflow.runtime.process_limit import ProcessLimitError
from ai_workflow.stage_names import stage
from ai_workflow.stages import fold_model
from ai_workflow.stages.feature_engineering import read_spec
from ai_workflow.stages.fold_model import FoldRows, NonFinitePredictionsError
from ai_workflow.storage.store import Store
from ai_workflow.telemetry.logs import logger
from ai_workflow.training import protocol, suggestions
from ai_workflow.training.checkpoints import Checkpoints, TrainingLockedError

if TYPE_CHECKING:
    from ai_workflow.features.spec import FeatureSpec
    from ai_workflow.stages.feature_engineering import FeatureData
    from ai_workflow.stages.preprocessor import CleanData

_NAME = "trainer.search"
# They depend on the machine, or on a fault of own code: another attempt may succeed with the same parameters.
_UNRELATED = (
    TransientError, MemoryExhaustedError, ProcessLimitError, TrainingLockedError, DeviceError, OwnCodeError,
)  # fmt: skip
log = logger("parameter_search")


class SearchOptions(ConfigModel):
    """The search, the trainer with its other settings, and how a trial is scored."""

    search: Search
    trainer: Trainer
    metric: str
    scoring: ScoreOptions
    batch_size: int | None

    @classmethod
    def of(cls, settings: Settings) -> SearchOptions | None:
        """Return the options of the settings; None without `trainer.search`."""
        if (search := settings.trainer.search) is None:
            return None
        metric = search.metric or settings.metric
        return cls(
            search=search,
            trainer=settings.trainer.model_copy(update={"search": None}),
            metric=metric,
            # Other metrics of own code do not concern a trial.
            scoring=QualityGate.of(settings).scoring.model_copy(
                update={"own": None if metric in METRICS[settings.task] else (metric,), "own_per_class": None}
            ),
            batch_size=protocol.rows_per_step(settings.trainer.kind, settings.training_batch_size),
        )

    def with_params(self, params: dict[str, Any]) -> Trainer:
        """Return the settings of the trainer with the parameters of a trial."""
        return self.trainer.model_copy(update={"params": {**self.trainer.params, **params}})


class SearchResult(TypedDict):
    """Result of `search`: the parameters of the best trial, and the report for the model card."""

    fingerprint: str
    params: dict[str, Any]
    report: SearchReport
    trials: int
    message: str
    warnings: list[str]


class _TrialRecord(TypedDict):
    """Stored result of a trial: the value of the metric, or the error with its remedy."""

    value: float | None
    error: str | None
    remedy: str
    rows: int


def check(options: SearchOptions | None) -> None:
    """Raise StageError if there is a search, and Optuna is missing or own code has no such parameter or direction."""
    if options is None:
        return
    suggestions.require_optuna()
    scores.is_higher_better(options.metric)
    declared = protocol.declared_parameters(options.trainer.kind)
    if declared is not None and (unknown := sorted(set(options.search.parameters) - set(declared))):
        raise StageError(
            f"trainer.search.parameters.{unknown[0]} is not a parameter of {options.trainer.kind}; known are "
            f"{', '.join(sorted(declared)) or 'none'}",
            "Correct the name, or add it to the attribute parameters of the trainer",
        )


def apply(settings: Settings, result: SearchResult) -> Settings:
    """Return the settings with the parameters of the best trial in place of the search."""
    params = {**settings.trainer.params, **result["params"]}
    trainer = settings.trainer.model_copy(update={"search": None, "params": params})
    return settings.model_copy(update={"trainer": trainer})


@stage("parameter_search")
def search(store: Store, clean: CleanData, featured: FeatureData, options: SearchOptions) -> SearchResult:
    """Run the trials of a search, or the remaining ones, and return the parameters of the best.

    Rows that are held out take no part. A trial whose training fails counts as failed, and the search continues.

    Raises:
        StageError: all trials failed, a fold has no row, or the metric cannot be computed.
        OwnCodeError: own code raised an exception, which fails no trial but the search.
        DeviceError: a GPU is missing or has failed.
        RunInterruptedError: a stop was requested; finished trials are saved, and the checkpoint of the current one.
    """
    check(options)
    spec = read_spec(store, featured)
    _check_metric(options, spec)
    trials = _Trials.of(store, clean, featured, spec, options)
    maximize = scores.is_higher_better(options.metric)
    finished, rows = trials.run(maximize=maximize)
    ranked = search_report.rank(finished, maximize=maximize)
    report = search_report.of(options.search, options.metric, finished, ranked, rows)
    message = search_report.summary(report)
    log.info(message)
    warnings = list(search_report.doubts(options.search, options.trainer, report, finished))
    for text in warnings:
        log.warning("%s", text)
    return {
        "fingerprint": fingerprint.of("search", report), "params": report["best"]["params"], "report": report,
        "trials": len(finished), "message": message, "warnings": warnings,
    }  # fmt: skip


def _check_metric(options: SearchOptions, spec: FeatureSpec) -> None:
    classes = spec["classes"]
    if classes and options.metric in scores.OF_ONE_CLASS and options.scoring.positive(classes) is None:
        raise StageError(
            f"{_NAME}.metric {options.metric} is that of one class, and the target has {len(classes)}",
            f"Set evaluate.positive_class, or use {options.metric}_macro",
        )


@dataclass(frozen=True)
class _Trials:
    """Rows and key of the trials; the key has all that the result of a trial depends on, apart from its parameters."""

    store: Store
    options: SearchOptions
    folds: list[FoldRows]
    key: tuple[str, ...]

    @classmethod
    def of(
        cls, store: Store, clean: CleanData, featured: FeatureData, spec: FeatureSpec, options: SearchOptions
    ) -> _Trials:
        """Divide the training rows; by time, the latest parts score."""
        features, rows = Dataset.load(store, featured), Dataset.load(store, clean)
        folds = fold_model.divide(store, rows, features, spec, options.search.folds, _NAME)
        folds = folds[-options.search.scored_folds :]
        kind, trainer = options.trainer.kind, protocol.trainer(options.trainer.kind)
        protocol.check_options(trainer, folds[0].data(options.trainer), options.trainer)
        code = fingerprint.code_version(fold_model.__name__, *protocol.modules_of(kind))
        library = fingerprint.library_version(trainer.library)
        own = fingerprint.of(own_metrics.codes(options.scoring.own or ()))
        parts = fingerprint.of(options.search.folds, options.search.scored_folds, options.metric, options.scoring)
        return cls(store, options, folds, (code, library, rows.fingerprint, features.fingerprint, own, parts))

    def run(self, *, maximize: bool) -> tuple[list[Trial], int]:
        """Return all trials, and the number of rows that score one.

        Raises:
            StageError: all trials failed.
        """
        search, metric = self.options.search, self.options.metric
        finished: list[Trial] = []
        records: list[_TrialRecord] = []
        for number in range(1, search.trials + 1):
            history = [(trial["params"], trial["value"]) for trial in finished]
            params = suggestions.suggest(search, history, maximize=maximize)
            records.append(record := self._trial(params))
            finished.append({"number": number, "params": params, "value": record["value"], "error": record["error"]})
            outcome = f"failed: {record['error']}" if record["error"] else scores.format_score(record["value"])
            log.info("trial %d/%d %s %s", number, search.trials, metric, outcome)
        if all(record["error"] for record in records):
            raise StageError(
                f"all {len(finished)} trials of {_NAME} failed, the first with: {records[0]['error']}",
                records[0]["remedy"] or f"Fix {_NAME}.parameters or trainer.params",
            )
        return finished, max(record["rows"] for record in records)

    def _trial(self, params: dict[str, Any]) -> _TrialRecord:
        """Return the stored result of a trial, or train and score its models."""
        trainer, rows = self.options.with_params(params), self.options.batch_size
        key = fingerprint.of("trial", *self.key, trainer, rows)
        return partition_cache.cached(self.store, "trials", key, partial(self._compute, trainer, key))

    def _compute(self, trainer: Trainer, key: str, stem: str) -> _TrialRecord:
        trainings = [
            Checkpoints(self.store, fold.spec["pipeline"], fingerprint.of(key, number), 1)
            for number, fold in enumerate(self.folds)
        ]
        record = self._scored(trainer, trainings)
        for checkpoints in trainings:
            checkpoints.clear()
        return record

    def _scored(self, trainer: Trainer, trainings: list[Checkpoints]) -> _TrialRecord:
        """Train and score the models of a trial; what its parameters do not allow is its error."""
        values, counts = [], []
        for fold, checkpoints in zip(self.folds, trainings, strict=True):
            data, unseen = fold.data(trainer), fold.unseen(trainer)
            try:
                model = fold.train(trainer, self.options.batch_size, checkpoints, data, unseen)
            except _UNRELATED:
                raise
            except StageError as error:
                return _failed(error)
            try:
                count, result = fold.score(trainer.kind, model, self.options.scoring)
            except NonFinitePredictionsError as error:
                return _failed(error)
            value = result[scores.key(self.options.metric)]
            if value is None:
                missing = StageError(
                    f"{_NAME}.metric {self.options.metric} cannot be computed on the rows that score a trial",
                    f"Lower {_NAME}.folds, or choose another metric",
                )
                if fold.spec["classes"]:
                    raise missing
                # The errors of a regression overflow with its predictions.
                return _failed(missing)
            values.append(value)
            counts.append(count)
        return {"value": sum(values) / len(values), "error": None, "remedy": "", "rows": sum(counts)}


def _failed(error: StageError) -> _TrialRecord:
    return {"value": None, "error": error.problem, "remedy": error.remedy, "rows": 0}
