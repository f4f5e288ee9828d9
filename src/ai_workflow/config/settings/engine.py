"""Settings of the computation on partitions, which change no result."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from ai_workflow.config.settings.config_model import NOT_IN_KEY, ConfigModel, Scope


class Engine(ConfigModel):
    """Threads of the stages that compute partitions; None: the usable CPUs, at most 4."""

    scope: ClassVar[Scope] = "deployment"
    threads: Annotated[int | None, NOT_IN_KEY] = Field(default=None, ge=1, le=64)
