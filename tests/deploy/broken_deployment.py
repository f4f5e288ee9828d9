"""A deployment whose runs crash each time: it lets a parameter pass that its flow does not have, as others do."""

from __future__ import annotations

from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient


def run(client: SyncPrefectClient, training: UUID, name: str) -> UUID:
    """Make one like the deployment `training`, and a run of it with such a parameter; return the run's id."""
    usual = client.read_deployment(training)
    broken = client.create_deployment(
        usual.flow_id, "broken", work_pool_name="ai-workflow", work_queue_name="later", tags=["ai-workflow"],
        entrypoint=usual.entrypoint, pull_steps=usual.pull_steps,
        parameter_openapi_schema={"type": "object", "properties": {}}, enforce_parameter_schema=False,
    )  # fmt: skip
    return client.create_flow_run_from_deployment(broken, name=name, parameters={"no_such_parameter": 1}).id
