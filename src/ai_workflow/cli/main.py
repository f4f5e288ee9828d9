"""The command line `ai-workflow`; the module of a command is imported when the command is called."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter, UnknownCommandError

from ai_workflow.config import dotenv
from ai_workflow.errors import AiWorkflowError
from ai_workflow.runtime import memory_pressure, process_limit, standard_output
from ai_workflow.secret_values import scrub
from ai_workflow.telemetry.control_characters import escape_lines

FAILED = 2
# Name, module and function, and help line.
_COMMANDS = (
    ("run", "run:run", "Run a pipeline from its source to stored predictions, or one of its flows."),
    ("score", "run:score", "Score another file with the trained model."),
    ("serve", "serve:serve", "Serve predictions over HTTP by latest, else stable, else the default response."),
    ("models", "models:app", "List, verify, pin, promote, roll back and prune published versions."),
    ("doctor", "doctor:doctor", "Check the installation: what is broken, and what to do."),
    ("trace", "trace:trace", "Show the stages of a run, with durations, results and errors."),
    (
        "pipeline",
        "pipeline:app",
        "Add and list pipelines of pipelines/, and write their deployments to prefect.yaml.",
    ),
    ("init", "project:init", "Write a project of your own to a new folder."),
    ("update", "project:update", "Bring the files of a project up to date with the installed package."),
    ("config", "config:app", "Check, show and explain the configuration."),
    ("up", "stack:up", "Start the whole stack on this machine."),
    ("down", "stack:down", "Stop the stack; data, history and logs stay."),
    ("stop", "stack:stop", "Stop the local Prefect server."),
    ("status", "stack:status", "Show the services of the stack, or the local Prefect server."),
    ("deploy", "deploy:deploy", "Set up deployments, automations and blocks on a Prefect server."),
    ("blocks", "blocks:app", "Register the blocks of the catalogue on a Prefect server."),
    ("exporter", "exporter:exporter", "Export metrics of pipelines, models and their store to Prometheus."),
    ("relay", "relay:relay", "Deliver alerts of Alertmanager and Prefect to chat channels."),
    ("slo", "slo:app", "Compile SLOs to Prometheus rules, dashboards and routes."),
)

# Flags have no `--no-` form.
app = App(
    name="ai-workflow",
    help="AI pipelines in production on Prefect.",
    default_parameter=Parameter(negative=()),
    result_action="return_value",
)
for _name, _target, _help in _COMMANDS:
    app.command(f"ai_workflow.cli.{_target}", name=_name, help=_help)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit.

    Exit codes: 0 success, 1 a run failed, 2 wrong usage or configuration, 3 nothing runs (status), 141 the reader of
    the output closed it.
    """
    sys.exit(exit_code(arguments))


def exit_code(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; an error is one message on stderr, with secrets masked."""
    try:
        # Prefect reads its variables when a command imports it.
        dotenv.load()
        with (
            standard_output.exit_when_closed(),
            process_limit.limit_errors_wrapped(),
            memory_pressure.memory_errors_wrapped(),
        ):
            code = app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        print(escape_lines(scrub(f"error: {_usage_error(error)}")), file=sys.stderr)
        return FAILED
    except AiWorkflowError as error:
        print(escape_lines(scrub(f"error: {error}")), file=sys.stderr)
        return FAILED
    return code if isinstance(code, int) else 0


def _usage_error(error: CycloptsError) -> str:
    """Return the message of a usage error in one line, with a remedy."""
    command = " ".join(("ai-workflow", *(error.command_chain or ())))
    if isinstance(error, UnknownCommandError) and error.app and error.unused_tokens:
        requested = error.unused_tokens[0]
        names = [name for name in error.app if not name.startswith("-")]
        similar = difflib.get_close_matches(requested, names, 1)
        hint = f' Did you mean "{similar[0]}"?' if similar else ""
        return f'Unknown command "{requested}".{hint} {command} has the commands {", ".join(names)}'
    error.verbose = False
    text = " ".join(str(error).split())
    return f"{text}{'' if text.endswith(('.', '?')) else '.'} {command} --help lists the options"
