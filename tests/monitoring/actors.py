"""Who makes what monitoring sees: runs of flows, callers who know later what was true, evaluations."""

from __future__ import annotations

import time

from ai_workflow import journal, trace
from ai_workflow.journal import Event, Journal
from ai_workflow.settings import Settings
from ai_workflow.stages import drift_detector, evaluation_store, label_joiner
from ai_workflow.stages.label_intake import Labelling
from ai_workflow.store import Store
from tests.serving import shop
from tests.serving.running import Running

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
        self._http, self._store = service.http, store
        self._settings = Settings.model_validate(
            {
                "pipeline": shop.PIPELINE, "task": "classification", "target": "bought",
                "source": {"kind": "csv", "path": "none.csv"}, "evaluation": {"window": LABELS},
            }
        )  # fmt: skip

    def label(self, *, right: bool) -> None:
        """Ask, say of each answer that it is right, or that it is wrong, and evaluate until all of that is known."""
        labels = []
        for _ in range(3):
            found = self._http.post("/predict", json={"rows": [shop.ROW] * (LABELS // 3)}).json()["predictions"]
            labels += [{"prediction_id": each["prediction_id"], "label": _label(each, right)} for each in found]
        before = self._labeled()
        response = self._http.post("/labels", json={"labels": labels})
        assert response.status_code == 200, response.text
        deadline = time.monotonic() + 60
        while self._labeled() < before + LABELS:
            assert time.monotonic() < deadline, "the labels were never joined"
            self._evaluate()
            time.sleep(0.2)

    def _labeled(self) -> int:
        path = f"{evaluation_store.FOLDER}/{shop.PIPELINE}"
        names = self._store.names(path)
        return sum(int(self._store.read_record(f"{path}/{name}")["labeled_total"]) for name in names)

    def _evaluate(self) -> None:
        """Do what the evaluation flow does."""
        moment = time.time()
        with trace.bound(trace_id=f"{time.time_ns():032x}"):
            joined = label_joiner.join(self._store, Labelling.of(self._settings), moment)
            drifted = drift_detector.detect(self._store, joined, drift_detector.Watched.of(self._settings))
            of = evaluation_store.Evaluated.of(self._settings)
            evaluation_store.keep(self._store, joined, drifted, of, moment)


def _label(found: dict[str, str], right: bool) -> str:
    return found["prediction"] if right else f"not {found['prediction']}"
