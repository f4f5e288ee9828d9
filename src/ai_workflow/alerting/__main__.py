"""`python -m monitoring.relay`: the same as `python -m monitoring relay`."""

from __future__ import annotations

import sys

from cyclopts import App, CycloptsError

from ai_workflow.alerting.command import relay
from ai_workflow.config import dotenv
from ai_workflow.errors import AiWorkflowError
from ai_workflow.runtime import process_limit
from ai_workflow.secret_values import scrub

_FAILED = 2


def main() -> None:
    """Run, and exit: 0 done, 2 a mistake that is said on stderr."""
    app = App(name="python -m monitoring.relay", help=relay.__doc__)
    app.default(relay)
    try:
        dotenv.load()
        with process_limit.explained():
            app(exit_on_error=False)
    except CycloptsError:
        sys.exit(_FAILED)
    except AiWorkflowError as error:
        sys.stderr.write(f"{scrub(str(error))}\n")
        sys.exit(_FAILED)


if __name__ == "__main__":
    main()
