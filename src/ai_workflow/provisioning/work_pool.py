"""The work pool that the deployments name, with its queues by priority."""

from __future__ import annotations

from collections.abc import Sequence

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from ai_workflow.provisioning.prefect_file import Entry

# The most urgent first; Prefect's own `default` comes after them.
QUEUES = ("first", "soon", "later")


async def apply(client: PrefectClient, entries: Sequence[Entry]) -> list[str]:
    """Make the pools and queues that deployments name, and return what was done.

    The queues of `QUEUES` keep their priorities as long as these are in the order of urgency, and get new ones if not:
    `prefect deploy` makes them in the reverse order. Other queues get the lowest priority, and keep one that is set.
    """
    done = []
    for pool in sorted({str(entry.given["work_pool"]["name"]) for entry in entries}):
        asked = {entry.given["work_pool"].get("work_queue_name") for entry in entries if _pool(entry) == pool}
        names = [*[name for name in QUEUES if name in asked], *sorted(asked - {None, "default", *QUEUES})]
        done += await _make(client, pool) + await _queues(client, pool, names)
    return done


def _pool(entry: Entry) -> str:
    return str(entry.given["work_pool"]["name"])


async def _make(client: PrefectClient, name: str) -> list[str]:
    try:
        await client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        await client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
        return [f"work pool {name}: made, of type process"]
    return []


async def _queues(client: PrefectClient, pool: str, names: Sequence[str]) -> list[str]:
    there = {queue.name for queue in await client.read_work_queues(work_pool_name=pool)}
    done = []
    for priority, name in enumerate(names, 1):
        if name not in there:
            at = priority if name in QUEUES else None
            await client.create_work_queue(name=name, work_pool_name=pool, priority=at)
            done.append(f"work queue {pool}/{name}: made" + (f", priority {at}" if at else ""))
    return done + await _in_order(client, pool)


async def _in_order(client: PrefectClient, pool: str) -> list[str]:
    """Give the queues of `QUEUES` the first priorities if they are not in the order of urgency."""
    there = {queue.name: queue for queue in await client.read_work_queues(work_pool_name=pool)}
    known = [there.pop(name) for name in QUEUES if name in there]
    priorities = [queue.priority or 0 for queue in known]
    if priorities == sorted(set(priorities)):
        return []
    done, last = [], 0
    # Priorities are unique in a pool; the other queues follow, in the order that they have.
    for queue in [*known, *sorted(there.values(), key=lambda one: one.priority or 0)]:
        last = last + 1 if queue in known else max(last + 1, queue.priority or 0)
        if queue.priority != last:
            await client.update_work_queue(queue.id, priority=last)
            done.append(f"work queue {pool}/{queue.name}: priority {queue.priority} changed to {last}")
    return done
