"""`ai-workflow models answered`: which version answered on a day or at a moment, and how often by a fallback."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ai_workflow.cli.common_options import Where
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
_HERE = Where()


def answered(*, at: str, where: Where = _HERE) -> None:
    """Show which version answered: rows, share, fallback reasons, and the share of the default response.

    `models history` shows what `latest` and `stable` pointed at; this reads the stored predictions of the service and
    of scoring runs.

    Args:
        at: A day as 2026-11-20, or a moment: 2026-11-20T10 is an hour, T10:00 a minute, T10:00:30 a second. Without an
            offset it is local time.
        where: Whose predictions.
    """
    begin, end = span(at)
    settings = where.settings
    store = Store(settings.store.root)
    found = stored.count(StoredPredictions(store, settings.pipeline), begin, end)
    note = _recent(settings, end)
    if not found:
        raise AiWorkflowError(
            f"no prediction of the pipeline {settings.pipeline} is stored in "
            f"{store.url(prediction_files.FOLDER)} for {at}"
            f"{f' ({note})' if note else ''}. "
            "Give another day, or see models history --at for what latest and stable pointed at"
        )
    for line in _lines(found, at):
        print(line)
    if note:
        print(f"note: {note}")


def _lines(found: list[PredictionCount], at: str) -> Iterator[str]:
    total = sum(one.rows for one in found)
    default = sum(one.rows for one in found if one.version == DEFAULT)
    yield f"{at}: {total} rows answered, {_share(default, total)} by the default response"
    width = max(len(one.version) for one in [*found, PredictionCount("VERSION")])
    yield f"{'VERSION':<{width}}  {'ROWS':>9}  {'SHARE':>7}  {'SERVICE':>9}  {'SCORING':>9}  {'FIRST':<19}  LAST"
    for one in found:
        yield (
            f"{one.version:<{width}}  {one.rows:>9}  {_share(one.rows, total):>7}  {one.service:>9}  {one.scoring:>9}  "
            f"{_local(one.first)}  {_local(one.last)}"
        )
        for reason, rows in one.reasons.most_common(_MAX_REASONS):
            yield f"{'':<{width}}  {rows:>9}  after {_shown(reason)}"
        if (others := len(one.reasons) - _MAX_REASONS) > 0:
            yield f"{'':<{width}}  {'':>9}  and after {others} other reasons"


def _recent(settings: Settings, end: datetime) -> str:
    """Return a note where answers of the period may not be stored yet."""
    log = settings.service.prediction_log
    if not log.enabled or datetime.now(UTC) - end > timedelta(seconds=log.segment_seconds):
        return ""
    return f"the service stores its answers up to {log.segment_seconds:g} s later (segment_seconds)"


def _share(rows: int, total: int) -> str:
    return f"{100 * rows / total:.1f} %"


def _local(moment: datetime | None) -> str:
    return moment.astimezone().strftime("%Y-%m-%dT%H:%M:%S") if moment else ""


def _shown(reason: str) -> str:
    line = " ".join("".join(char if char.isprintable() else " " for char in reason).split())
    return line if len(line) <= _MAX_REASON_LENGTH else f"{line[:_MAX_REASON_LENGTH]}..."
