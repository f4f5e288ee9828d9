"""Who makes what monitoring sees: runs of flows, callers who know later what was true, evaluations."""

from __future__ import annotations

import time
from collections.abc import Callable

from ai_workflow.config.settings import Settings
from ai_workflow.inference.stored_predictions import StoredPredictions
from ai_workflow.stages import drift_detector, evaluation_store, label_joiner
from ai_workflow.stages.label_intake import LabelJoinerOptions
from ai_workflow.storage.store import Store
from ai_workflow.telemetry import journal, trace_context
from ai_workflow.telemetry.journal import Event, Journal
from tests.patience import PATIENCE
from tests.serving import published_models
from tests.serving.running_service import Running

LABELS = 300


class Run:
    """A run of a flow, as this process journals it."""

    def __init__(self, store: Store, pipeline: str, flow: str) -> None:
        self._journal = Journal(store)
        self.trace_id = f"{time.time_ns():032x}"[::-1]
        self._about = {"trace_id": self.trace_id, "pipeline": pipeline, "flow": flow}
        self.say(journal.RUN, journal.STARTED)

    def say(self, stage: str, status: str) -> None:
        """Write an event."""
        self._journal.write(Event(**self._about, stage=stage, status=status))

    def end(self, status: str = journal.SUCCESS) -> None:
        """End it."""
        self.say(journal.RUN, status)


def run_once(store: Store, pipeline: str, flow: str, stage: str, status: str = journal.SUCCESS) -> Run:
    """Journal a whole run of one stage."""
    run = Run(store, pipeline, flow)
    run.say(stage, journal.STARTED)
    run.say(stage, status)
    run.end(status)
    return run


class Callers:
    """Callers of a service who say later what turned out to be true, and the evaluation flow, again and again."""

    def __init__(self, service: Running, store: Store) -> None:
        self.http, self._store = service.http, store
        self._settings = Settings.model_validate(
            {
                "pipeline": published_models.PIPELINE, "task": "classification", "target": "bought",
                "source": {"kind": "csv", "path": "none.csv"}, "evaluation": {"window": LABELS},
            }
        )  # fmt: skip

    def label(self, *, right: bool) -> None:
        """Ask, say of each answer that it is right, or that it is wrong, and evaluate until all of that is known.

        What is true is known later: not before the answers are in the log, or on a busy machine a label would be old
        by the time that it is joined.
        """
        labels, logged = [], self._logged()
        for _ in range(3):
            found = self.http.post("/predict", json={"rows": [published_models.ROW] * (LABELS // 3)}).json()[
                "predictions"
            ]
            labels += [{"prediction_id": each["prediction_id"], "label": _label(each, right)} for each in found]
        self._until(lambda: self._logged() >= logged + LABELS, "the answers were never logged")
        before = self._labeled()
        response = self.http.post("/labels", json={"labels": labels})
        assert response.status_code == 200, response.text

        def joined() -> bool:
            self._evaluate()
            return self._labeled() >= before + LABELS

        self._until(joined, "the labels were never joined")

    @staticmethod
    def _until(holds: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, otherwise
            time.sleep(0.2)

    def _logged(self) -> int:
        return sum(part["rows"] for _, part in StoredPredictions(self._store, published_models.PIPELINE).parts(None))

    def _labeled(self) -> int:
        path = f"{evaluation_store.FOLDER}/{published_models.PIPELINE}"
        names = self._store.names(path)
        return sum(int(self._store.read_record(f"{path}/{name}")["labeled_total"]) for name in names)

    def _evaluate(self) -> None:
        """Do what the evaluation flow does."""
        moment = time.time()
        with trace_context.bound(trace_id=f"{time.time_ns():032x}"):
            joined = label_joiner.join(self._store, LabelJoinerOptions.of(self._settings), moment)
            drifted = drift_detector.detect(self._store, joined, drift_detector.DriftDetectorOptions.of(self._settings))
            of = evaluation_store.EvaluationStoreOptions.of(self._settings)
            evaluation_store.save(self._store, joined, drifted, of, moment)


def _label(found: dict[str, str], right: bool) -> str:
    return found["prediction"] if right else {"yes": "no", "no": "yes"}[found["prediction"]]
