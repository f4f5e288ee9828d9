"""The command line `ai-workflow`: each command lives in its own module and is imported when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from ai_workflow import memory, process_limit, standard_output
from ai_workflow.config import dotenv
from ai_workflow.control_characters import escape_lines
from ai_workflow.errors import AiWorkflowError
from ai_workflow.secrets import scrub

FAILED = 2

app = App(name="ai-workflow", help="AI pipelines in production: configuration, traces, models, service.")
app.command("ai_workflow.cli_config:app", name="config", help="Check, show and explain the configuration.")
app.command("ai_workflow.cli_trace:trace", name="trace")
app.command("ai_workflow.cli_serve:serve", name="serve")
app.command("ai_workflow.cli_models:app", name="models", help="List, verify, promote and prune published versions.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 2 an error that is on stderr, 141 if the reader of the output is gone."""
    try:
        dotenv.load()
        with standard_output.may_be_closed(), process_limit.explained(), memory.translated():
            app(arguments, exit_on_error=False)
    except CycloptsError:  # it has printed what is wrong with the command line
        sys.exit(FAILED)
    except AiWorkflowError as error:
        print(escape_lines(scrub(str(error))), file=sys.stderr)
        sys.exit(FAILED)
