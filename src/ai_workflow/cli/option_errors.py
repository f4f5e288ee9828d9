"""Errors of options whose values are out of range."""

from __future__ import annotations

from pydantic import ValidationError

from ai_workflow.errors import AiWorkflowError

MAX_PORT = 65535


def require_port(port: int) -> None:
    """Raise if `--port` is not between 0 and 65535.

    Raises:
        AiWorkflowError: it is not.
    """
    if not 0 <= port <= MAX_PORT:
        raise AiWorkflowError(
            f"--port {port} is not between 0 and {MAX_PORT}. Pass another port, or 0 for any free one"
        )


def invalid_options(error: ValidationError) -> AiWorkflowError:
    """Return the error for options that are no valid settings; a problem of several settings names no option."""
    problems = []
    for problem in error.errors():
        message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        option = f"--{problem['loc'][-1]} {problem['input']}: " if problem["loc"] else ""
        problems.append(f"{option}{message}")
    return AiWorkflowError("; ".join(problems))
