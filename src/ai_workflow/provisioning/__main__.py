"""`python -m blocks register`: makes the blocks whose variables are set or that a person at a terminal gives."""

from __future__ import annotations

import asyncio
import sys
from getpass import getpass

from prefect.settings import PREFECT_API_URL

from ai_workflow.config import dotenv
from ai_workflow.errors import AiWorkflowError
from ai_workflow.prefect_errors import explained
from ai_workflow.provisioning.blocks.registration import register
from ai_workflow.runtime import process_limit, standard_output
from ai_workflow.secret_values import scrub
from ai_workflow.telemetry.control_characters import escape_lines


async def _register() -> int:
    outcomes = []
    async for outcome in register(_ask if sys.stdin.isatty() else None):
        print(outcome)
        outcomes.append(outcome)
    if not any(outcome.changed for outcome in outcomes):
        print("nothing changed")
    return 0


def _require_url() -> None:
    if not PREFECT_API_URL.value():
        raise AiWorkflowError(
            "PREFECT_API_URL is not set. Set it to the URL of the server's API, such as http://127.0.0.1:4200/api"
        )


def _ask(what: str, hidden: bool) -> str:
    return (getpass if hidden else input)(f"{what} (empty: leave it out): ").strip()


def main() -> int:
    """Run the command line; an error of ours is one line and exit code 1."""
    if sys.argv[1:] != ["register"]:
        print(f"usage: python -m blocks register\n{__doc__}", file=sys.stderr)
        return 2
    try:
        dotenv.load_after_prefect()
        with standard_output.may_be_closed(), process_limit.explained():
            _require_url()
            with explained():
                return asyncio.run(_register())
    except AiWorkflowError as error:
        print(escape_lines(scrub(str(error))), file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
