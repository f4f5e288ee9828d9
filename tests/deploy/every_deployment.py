"""Each deployment of prefect.yaml, run by a worker to its end, with the data that it needs."""

from __future__ import annotations

import csv
import time
from typing import Any

import httpx

from tests.flows import sample_tables
from tests.flows.prefect_worker import Worker
from tests.flows.workspace import Workplace
from tests.patience import PATIENCE

# Each group needs what the ones before have made; those of a group run at the same time, but few, as cores are.
ORDER = (("training", "recovery", "drill"), ("scoring", "promotion", "reaction"), ("evaluation", "retention"))
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def furnish(place: Workplace) -> Workplace:
    """Give a place small tables, their labels, and the pipeline file; all paths are absolute."""
    found = {seed: sample_tables.rows(seed=seed) for seed in (1, 2)}
    for seed, rows in found.items():
        sample_tables.write(place.folder / f"rows-{seed}.csv", rows)
    with (place.folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["row_id", "good", "known"], *([row[0], row[-1], "2030-01-01"] for row in found[1])]
        )
    labels = {"source": {"kind": "csv", "path": str(place.folder / "labels.csv")}}
    place.configure(
        source={"kind": "csv", "path": str(place.folder / "rows-*.csv")},
        evaluation={**labels, "id": "row_id", "label": "good", "time": "known"},
    )
    return place


def worker(place: Workplace, **env: str) -> Worker:
    """Start a worker of the pool `ai-workflow`, which looks for runs every second."""
    quick = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_WORKER_HEARTBEAT_SECONDS": "2"}
    return Worker.of(place, "-m", "prefect", "worker", "start", "--pool", "ai-workflow", **quick, **env)


class Deployed:
    """The deployments of a server, by name."""

    def __init__(self, api: httpx.Client) -> None:
        self.api = api

    def all(self) -> dict[str, dict[str, Any]]:
        """Return all of them by name."""
        return {one["name"]: one for one in self._post("/deployments/filter")}

    def start(self, name: str, **parameters: Any) -> str:
        """Make a run, and return its id."""
        made = self._post(f"/deployments/{self.all()[name]['id']}/create_flow_run", parameters=parameters)
        return str(made["id"])

    def pause_schedules(self) -> None:
        """Let none run but those that a test starts."""
        for one in self.all().values():
            self.api.post(f"/deployments/{one['id']}/pause_deployment").raise_for_status()

    def resume_schedules(self, name: str) -> None:
        """Let the schedules of one run again."""
        self.api.post(f"/deployments/{self.all()[name]['id']}/resume_deployment").raise_for_status()

    def ended(self, run_id: str, patience: float = PATIENCE, *, even_if_crashed: bool = False) -> str:
        """Wait for the end of a run, and return its state, with its message unless it completed.

        Args:
            run_id: the run.
            patience: seconds.
            even_if_crashed: a crash is no end, as recovery sees to it.
        """
        final = set(ENDED) - ({"CRASHED"} if even_if_crashed else set())
        deadline = time.monotonic() + patience
        said = "nothing was heard of it"
        while time.monotonic() < deadline:
            try:
                reply = self.api.get(f"/flow_runs/{run_id}")
                if reply.status_code == httpx.codes.NOT_FOUND:
                    # The automation `run idle` deletes runs that completed without anything to do.
                    return "COMPLETED"
                state = reply.json()["state"] if reply.status_code == httpx.codes.OK else None
            except httpx.TransportError:
                state = None
            if state:
                said = f"{state['type']}: {state['message'] or ''}".strip(": ")
                if state["type"] == "COMPLETED":
                    return "COMPLETED"
                if state["type"] in final:
                    return said
            time.sleep(0.2)
        return f"not ended after {patience:g} s, {said}"

    def run_each(self, place: Workplace) -> dict[str, str]:
        """Run each, and return how it ended."""
        config = str(place.folder / "pipeline.yaml")
        more = {"reaction": {"event_id": "1", "slo": "latency"}}
        done: dict[str, str] = {}
        for group in ORDER:
            runs = {name: self.start(name, config=config, **more.get(name, {})) for name in group}
            done |= {name: self.ended(run_id) for name, run_id in runs.items()}
        return done

    def _post(self, path: str, **asked: Any) -> Any:
        deadline = time.monotonic() + PATIENCE
        # SQLite that is busy answers 503, and Prefect's own client asks again, too.
        while (reply := self.api.post(path, json=asked)).status_code == httpx.codes.SERVICE_UNAVAILABLE:
            assert time.monotonic() < deadline, reply.text
            time.sleep(0.5)
        reply.raise_for_status()
        return reply.json()
