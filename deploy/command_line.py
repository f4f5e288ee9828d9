"""The end of a command of this package: an error is one message without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ai_workflow.errors import AiWorkflowError
from ai_workflow.secrets import scrub


def exit_code(command: Callable[[], object]) -> int:
    """Run a command; return 0, or 1 after its AiWorkflowError was printed to stderr, with secrets masked."""
    try:
        command()
    except AiWorkflowError as error:
        print(scrub(f"error: {error}"), file=sys.stderr)
        return 1
    return 0
