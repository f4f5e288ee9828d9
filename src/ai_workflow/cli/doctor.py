"""`ai-workflow doctor`: what is broken, and why."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from ai_workflow.cli.common_options import CommonOptions

_DEFAULTS = CommonOptions()


def doctor(
    *,
    options: CommonOptions = _DEFAULTS,
    json_: Annotated[bool, Parameter(name="--json")] = False,
    service: str | None = None,
    relay: str | None = None,
) -> int:
    """Check the installation, and show what is broken, since when, and what to do.

    The exit code is 0 if it is healthy, and 1 if something is broken or could not be checked.

    Args:
        options: Pipeline, environment and store.
        json_: Print JSON.
        service: URL of the inference service; that of the stack, else of the configuration, if not given.
        relay: URL of the alert relay; that of the stack, else of the configuration, if not given.
    """
    from ai_workflow.doctor import checks, context, report

    chosen = context.Options(options.pipeline, options.environment, options.store, service, relay)
    results = checks.run(context.examine(chosen))
    sys.stdout.write(report.as_json(results, datetime.now(UTC)) if json_ else report.as_text(results) + "\n")
    return 0 if all(result.is_healthy for result in results) else 1
