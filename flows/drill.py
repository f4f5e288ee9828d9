"""The drill flow: makes an alarm on purpose, so that one knows that alarms reach the chats before one is needed."""

from __future__ import annotations

from typing import Any, Literal

from prefect import flow
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.states import Failed

from ai_workflow.config.settings import Settings
from ai_workflow.orchestration.flow_parameters import Environment, LogLevel, Overrides, Pipeline
from ai_workflow.orchestration.maintenance import upkeep
from ai_workflow.telemetry import logs, trace_context

DRILLED = "ai-workflow.drill"
SAYS = "This is a drill: nothing is wrong, and alarms reach this chat"
log = logs.logger("drill")


@flow(name="drill", log_prints=False)
async def drill(
    config: Pipeline = None,
    environment: Environment = None,
    overrides: Overrides = None,
    what: Literal["message", "failure"] = "message",
    log_level: LogLevel = None,
) -> Any:
    """Send one message through automation, relay and chat, or fail on purpose; nothing else is touched.

    Args:
        config: pipeline file; the pipeline of `config/base.yaml` if not given.
        environment: which `config/<environment>.yaml` applies.
        overrides: settings that win over every file.
        what: message: the automation "drill" tells the chats. failure: this run fails, and "run failed" tells them.
        log_level: DEBUG, INFO, WARNING or ERROR, for this run only.
    """

    async def work(settings: Settings) -> dict[str, Any]:
        if what == "message":
            _tell(settings)
        return {"message": SAYS, "what": what}

    done = await upkeep("drill", work, config=config, environment=environment, overrides=overrides, log_level=log_level)
    return Failed(message=SAYS) if what == "failure" and isinstance(done, dict) else done


def _tell(settings: Settings) -> None:
    log.info("%s", SAYS)
    emit_event(
        event=DRILLED,
        resource={
            "prefect.resource.id": f"ai-workflow.drill.{settings.environment}.{settings.pipeline}",
            "prefect.resource.name": f"drill of {settings.pipeline}",
        },
        payload={"says": SAYS, "flow_run_id": str(flow_run.id), "trace_id": trace_context.current() or ""},
    )
