"""Check of the work pools of deployments: live workers, paused pools, late runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx

from ai_workflow.doctor import prefect_server
from ai_workflow.doctor.context import Context
from ai_workflow.doctor.finding import Finding
from ai_workflow.exporter.prefect_client import PrefectClient, PrefectRequestError, of_environment

_ONLINE = "ONLINE"
_LATE: Mapping[str, Any] = {"flow_runs": {"state": {"name": {"any_": ["Late"]}}}}
# Pools of these kinds run without a worker.
_WITHOUT_WORKER = (":push", ":managed")
_Items = Sequence[Mapping[str, Any]]


def check(context: Context) -> Iterator[Finding]:
    """Yield the work pools without a live worker, and the runs that no worker has started."""
    url = prefect_server.api_url(context)
    if url is None:
        yield prefect_server.NOT_USED
        return
    try:
        with closing(prefect_server.client(context, url)) as requests:
            yield from _pools(requests, prefect_server.shown(url), context.environment)
    except (httpx.HTTPError, httpx.InvalidURL, PrefectRequestError, ValueError) as error:
        what = f"the workers are unknown: {error or type(error).__name__}"
        yield Finding("unknown", what, prefect_server.shown(url), "Fix the finding of the Prefect server first")


def _pools(requests: PrefectClient, url: str, environment: str) -> Iterator[Finding]:
    deployments = of_environment(listed := requests.all("/deployments/filter"), environment)
    pools = {pool["name"]: pool for pool in requests.all("/work_pools/filter")}
    others = {each.get("id") for each in listed} - {each.get("id") for each in deployments}
    late = [run for run in requests.all("/flow_runs/filter", _LATE) if run.get("deployment_id") not in others]
    counts: dict[str, int] = defaultdict(int)
    for deployment in deployments:
        if deployment.get("work_pool_name"):
            counts[deployment["work_pool_name"]] += 1
    for name, count in sorted(counts.items()):
        where = f"work pool {name} at {url}, {count} deployments"
        pool = pools.get(name, {})
        if pool.get("is_paused"):
            yield Finding("error", f"work pool {name} is paused", where, f"prefect work-pool resume {quote(name)}")
        if str(pool.get("type", "")).endswith(_WITHOUT_WORKER):
            continue
        workers = requests.all(f"/work_pools/{quote(name, safe='')}/workers/filter")
        if not any(worker.get("status") == _ONLINE for worker in workers):
            yield _without_worker(name, where, workers)
    yield from _late(late, url)


def _without_worker(name: str, where: str, workers: _Items) -> Finding:
    heartbeats = [time for worker in workers if (time := _time(worker.get("last_heartbeat_time")))]
    last = max(heartbeats, default=None)
    what = f"work pool {name} has no live worker" + ("" if last else ", and never had one") + ": its runs do not start"
    return Finding("error", what, where, f"prefect worker start --pool {quote(name)}, or make up", last)


def _late(late: _Items, url: str) -> Iterator[Finding]:
    if late:
        expected = [time for run in late if (time := _time(run.get("expected_start_time")))]
        names = ", ".join(sorted({str(run.get("name")) for run in late})[:5])
        what = f"{len(late)} runs are late: {names}"
        remedy = "Check the workers and the concurrency limits of the pool"
        yield Finding("warning", what, url, remedy, min(expected, default=None))


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
