"""`ai-workflow models answered`: rows and fallbacks by model version in a period."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ai_workflow.cli.common_options import CommonOptions
from ai_workflow.cli.period_option import span
from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.inference import answered_versions as stored
from ai_workflow.inference import prediction_files
from ai_workflow.inference.answered_versions import PredictionCount
from ai_workflow.inference.stored_predictions import DEFAULT, StoredPredictions
from ai_workflow.storage.store import Store

_MAX_REASONS = 10
_MAX_REASON_LENGTH = 160
_DEFAULTS = CommonOptions()


def answered(*, at: str, options: CommonOptions = _DEFAULTS) -> None:
    """Show the rows that each version answered in a period, with fallback reasons.

    Reads the stored predictions of the service and of scoring runs. `models history` shows the aliases.

    Args:
        at: Day as 2026-11-20, hour as 2026-11-20T10, minute as T10:00, or second as T10:00:30; local time without an
            offset.
        options: Pipeline, environment and store.
    """
    begin, end = span(at)
    settings = options.settings
    store = Store(settings.store.root)
    answers = stored.count(StoredPredictions(store, settings.pipeline), begin, end)
    note = _segment_note(settings, end)
    if not answers:
        raise AiWorkflowError(
            f"no prediction of the pipeline {settings.pipeline} is stored in "
            f"{store.url(prediction_files.FOLDER)} for {at}"
            f"{f' ({note})' if note else ''}. "
            "Give another day, or run models history --at to see the aliases"
        )
    for line in _lines(answers, at):
        print(line)
    if note:
        print(f"note: {note}")


def _lines(answers: list[PredictionCount], at: str) -> Iterator[str]:
    total = sum(answer.rows for answer in answers)
    default = sum(answer.rows for answer in answers if answer.version == DEFAULT)
    yield f"{at}: {total} rows answered, {_share(default, total)} by the default response"
    width = max(len(answer.version) for answer in [*answers, PredictionCount("VERSION")])
    yield f"{'VERSION':<{width}}  {'ROWS':>9}  {'SHARE':>7}  {'SERVICE':>9}  {'SCORING':>9}  {'FIRST':<19}  LAST"
    for answer in answers:
        yield (
            f"{answer.version:<{width}}  {answer.rows:>9}  {_share(answer.rows, total):>7}  {answer.service:>9}  "
            f"{answer.scoring:>9}  {_local_time(answer.first)}  {_local_time(answer.last)}"
        )
        for reason, rows in answer.reasons.most_common(_MAX_REASONS):
            yield f"{'':<{width}}  {rows:>9}  after {_one_line(reason)}"
        if (others := len(answer.reasons) - _MAX_REASONS) > 0:
            yield f"{'':<{width}}  {'':>9}  and after {others} other reasons"


def _segment_note(settings: Settings, end: datetime) -> str:
    """Return a note if predictions of the period may not be stored yet."""
    log = settings.service.prediction_log
    if not log.enabled or datetime.now(UTC) - end > timedelta(seconds=log.segment_seconds):
        return ""
    return f"the service stores its predictions up to {log.segment_seconds:g} s later (segment_seconds)"


def _share(rows: int, total: int) -> str:
    return f"{100 * rows / total:.1f} %"


def _local_time(time: datetime | None) -> str:
    return time.astimezone().strftime("%Y-%m-%dT%H:%M:%S") if time else ""


def _one_line(reason: str) -> str:
    line = " ".join("".join(char if char.isprintable() else " " for char in reason).split())
    return line if len(line) <= _MAX_REASON_LENGTH else f"{line[:_MAX_REASON_LENGTH]}..."
