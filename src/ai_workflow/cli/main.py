"""The command line `ai-workflow`: each command lives in its own module and is imported when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from ai_workflow.config import dotenv
from ai_workflow.errors import AiWorkflowError
from ai_workflow.runtime import memory_pressure, process_limit, standard_output
from ai_workflow.secret_values import scrub
from ai_workflow.telemetry.control_characters import escape_lines

FAILED = 2

app = App(name="ai-workflow", help="AI pipelines in production: configuration, traces, models, service.")
app.command("ai_workflow.cli.config:app", name="config", help="Check, show and explain the configuration.")
app.command("ai_workflow.cli.trace:trace", name="trace")
app.command("ai_workflow.cli.serve:serve", name="serve")
app.command("ai_workflow.cli.models:app", name="models", help="List, verify, promote and prune published versions.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 2 an error that is on stderr, 141 if the reader of the output is gone."""
    try:
        dotenv.load()
        with standard_output.may_be_closed(), process_limit.explained(), memory_pressure.translated():
            app(arguments, exit_on_error=False)
    except CycloptsError:  # it has printed what is wrong with the command line
        sys.exit(FAILED)
    except AiWorkflowError as error:
        print(escape_lines(scrub(str(error))), file=sys.stderr)
        sys.exit(FAILED)
