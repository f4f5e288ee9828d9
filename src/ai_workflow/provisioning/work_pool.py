"""Sync of the work pools of deployments, with their queues by priority."""

from __future__ import annotations

from collections.abc import Sequence

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from ai_workflow.provisioning.prefect_file import Entry

# The most urgent first, before `default` of Prefect.
QUEUES = ("first", "soon", "later")


async def apply(client: PrefectClient, entries: Sequence[Entry]) -> list[str]:
    """Create the work pools and queues of deployments, and return the changes.

    The queues of `QUEUES` keep their priorities if they are in this order, and get new ones if not, because
    `prefect deploy` creates them in the reverse order. Other queues get the lowest priority, or keep one that is set.
    """
    changes = []
    for pool in sorted({str(entry.fields["work_pool"]["name"]) for entry in entries}):
        declared = {entry.fields["work_pool"].get("work_queue_name") for entry in entries if _pool(entry) == pool}
        names = [*[name for name in QUEUES if name in declared], *sorted(declared - {None, "default", *QUEUES})]
        changes += await _create_pool(client, pool) + await _create_queues(client, pool, names)
    return changes


def _pool(entry: Entry) -> str:
    return str(entry.fields["work_pool"]["name"])


async def _create_pool(client: PrefectClient, name: str) -> list[str]:
    try:
        await client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        await client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
        return [f"work pool {name}: made, of type process"]
    return []


async def _create_queues(client: PrefectClient, pool: str, names: Sequence[str]) -> list[str]:
    existing = {queue.name for queue in await client.read_work_queues(work_pool_name=pool)}
    changes = []
    for priority, name in enumerate(names, 1):
        if name not in existing:
            given_priority = priority if name in QUEUES else None
            await client.create_work_queue(name=name, work_pool_name=pool, priority=given_priority)
            changes.append(
                f"work queue {pool}/{name}: made" + (f", priority {given_priority}" if given_priority else "")
            )
    return changes + await _sort_queues(client, pool)


async def _sort_queues(client: PrefectClient, pool: str) -> list[str]:
    """Give the queues of `QUEUES` the first priorities if they are not in this order."""
    existing = {queue.name: queue for queue in await client.read_work_queues(work_pool_name=pool)}
    ranked = [existing.pop(name) for name in QUEUES if name in existing]
    priorities = [queue.priority or 0 for queue in ranked]
    if priorities == sorted(set(priorities)):
        return []
    changes = []
    last = 0
    # Priorities are unique in a pool; the other queues follow in their current order.
    for queue in [*ranked, *sorted(existing.values(), key=lambda queue: queue.priority or 0)]:
        last = last + 1 if queue in ranked else max(last + 1, queue.priority or 0)
        if queue.priority != last:
            await client.update_work_queue(queue.id, priority=last)
            changes.append(f"work queue {pool}/{queue.name}: priority {queue.priority} changed to {last}")
    return changes
