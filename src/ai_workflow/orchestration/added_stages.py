"""Added stages of a run: own code between the loader and the preprocessor, each a task of its own."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from ai_workflow.config.settings import AddedStage, Source
from ai_workflow.stages import added_stage

if TYPE_CHECKING:
    from ai_workflow.orchestration.pipeline_run import PipelineRun
    from ai_workflow.stages.data_loader import LoadedData


class AddedStages:
    """The stages after the loader, whose code is imported and checked; calling it runs them.

    Args:
        run: the run.
        source: the source of the rows.
        codes: the code of each stage, for its cache key.
    """

    def __init__(self, run: PipelineRun, source: Source, codes: dict[str, tuple[str, ...]]) -> None:
        self._run, self._source, self._codes = run, source, codes

    async def __call__(self, loaded: LoadedData, *, accept_empty: bool = False) -> LoadedData:
        """Return the loaded rows after all added stages."""
        for stage in _after_loader(self._run):
            options = added_stage.AddedStageOptions(stage=stage, missing=self._source.missing, strip=self._source.strip)
            loaded = await self._run.stage(
                added_stage.of(stage),
                loaded,
                options,
                inputs=partial(added_stage.inspect, stage),
                loads=self._codes[stage.name],
                accept_empty=accept_empty,
            )
        return loaded


async def check(run: PipelineRun, source: Source) -> AddedStages:
    """Import the code of all added stages.

    Raises:
        StageError: the code of a stage is not found, fails, or is no stage.
    """
    codes = await asyncio.to_thread(added_stage.check, _after_loader(run))
    return AddedStages(run, source, codes)


def _after_loader(run: PipelineRun) -> tuple[AddedStage, ...]:
    return run.settings.stages.after.data_loader
