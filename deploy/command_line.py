"""The end of a command of this package: an error is one message without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ai_workflow import process_limit
from ai_workflow.errors import AiWorkflowError
from ai_workflow.secrets import scrub


def exit_code(command: Callable[[], object]) -> int:
    """Run a command and return its exit code: the number that it returned, or else 0.

    After an AiWorkflowError it is 1, and the message is on stderr with secrets masked.
    """
    try:
        with process_limit.explained():
            code = command()
    except AiWorkflowError as error:
        print(scrub(f"error: {error}"), file=sys.stderr)
        return 1
    return code if isinstance(code, int) else 0
