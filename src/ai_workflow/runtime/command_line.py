"""Exit codes of commands: an error is one message without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ai_workflow.errors import AiWorkflowError
from ai_workflow.runtime import process_limit, standard_output
from ai_workflow.secret_values import scrub
from ai_workflow.telemetry.control_characters import escape_lines


def exit_code(command: Callable[[], object]) -> int:
    """Run a command and return its exit code: the number that it returned, else 0.

    An AiWorkflowError is printed to stderr with secrets masked, and the code is 1. If the reader of the output has
    closed it, the process exits with 141.
    """
    try:
        with standard_output.exit_when_closed(), process_limit.limit_errors_wrapped():
            code = command()
    except AiWorkflowError as error:
        print(escape_lines(scrub(f"error: {error}")), file=sys.stderr)
        return 1
    return code if isinstance(code, int) else 0
