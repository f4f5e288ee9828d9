"""Parameters that all flows share: how a run was started, and the settings that follow from them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ai_workflow.config import loader, variables
from ai_workflow.config.loader import Loaded
from ai_workflow.config.settings import Settings
from ai_workflow.orchestration import run_identity, run_logs, temporary_store


@dataclass(frozen=True, slots=True)
class FlowRequest:
    """The shared parameters of one flow run.

    Args:
        flow: name of the flow.
        config: pipeline file; None for the pipeline of `config/base.yaml`.
        environment: name of the environment; None for the default.
        overrides: settings that win over every file.
        traceparent: W3C header of the caller.
        log_level: level for this run only.
    """

    flow: str
    config: str | None = None
    environment: str | None = None
    overrides: Mapping[str, Any] | None = None
    traceparent: str | None = None
    log_level: str | None = None

    def load(self) -> Loaded:
        """Return the configuration of the run.

        Raises:
            ConfigError: the configuration is not valid.
        """
        overrides = {**(self.overrides or {}), **({"logging.level": self.log_level} if self.log_level else {})}
        return loader.load(self.config, environment=self.environment, overrides=overrides)

    async def prepare(self, trace_id: str) -> Settings:
        """Load and check the settings, set up the log, and name the flow run in Prefect.

        Raises:
            AiWorkflowError: the configuration is not valid, or Prefect would delete the store with the run.
        """
        loaded = self.load()
        variables.check(loaded, os.environ, "run")
        settings = loaded.settings
        run_logs.set_up(settings)
        await temporary_store.check(settings)
        await run_identity.show(self.flow, settings.pipeline, settings.environment, trace_id)
        return settings
