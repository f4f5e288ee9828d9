"""`python -m monitoring`: the commands of monitoring."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, CycloptsError

from ai_workflow.config import dotenv
from ai_workflow.errors import AiWorkflowError
from ai_workflow.runtime import process_limit, standard_output
from ai_workflow.secret_values import scrub

FAILED = 2

app = App(name="python -m monitoring", help=__doc__, version_flags=[])


@app.command
def exporter(
    *,
    pipeline: Path | None = None,
    store: str | None = None,
    environment: str | None = None,
    host: str = "127.0.0.1",
    port: int = 9109,
) -> None:
    """Show the state of pipelines, models and their store as metrics for Prometheus, until SIGTERM or Ctrl-C.

    Args:
        pipeline: YAML file of a pipeline, whose deployment sections (`store:`, `monitoring:`) are used as well.
        store: The store's root, if it is not the one of the configuration.
        environment: Which config/NAME.yaml, and whose models; else AIW_ENVIRONMENT, else development.
        host: Where to listen: 0.0.0.0 for whoever can reach this machine.
        port: Where to listen; 0 takes any that is free.
    """
    from ai_workflow.exporter.exporter import main as run

    run(pipeline, store, environment, host, port)


@app.command
def relay(
    *,
    pipeline: Path | None = None,
    environment: str | None = None,
    host: str | None = None,
    port: int | None = None,
) -> None:
    """Receive alerts and send them to the channels of `chat:`, until SIGTERM or Ctrl-C.

    Args:
        pipeline: YAML file of a pipeline, whose `relay:` and `chat:` are used as well.
        environment: Which config/NAME.yaml; else AIW_ENVIRONMENT, else development.
        host: Where to listen, if not at relay.host; other than this machine only with relay.token.
        port: Where to listen, if not at relay.port; 0 takes any that is free.
    """
    from ai_workflow.alerting.command import relay as run

    run(pipeline=pipeline, environment=environment, host=host, port=port)


@app.command
def build(*, file: Path | None = None, out: Path | None = None) -> None:
    """Write monitoring/generated/ anew: rules, dashboards, routes and their tests.

    Args:
        file: Promises other than monitoring/slo.yaml.
        out: A folder other than monitoring/generated/.
    """
    from ai_workflow.slo import build as building
    from ai_workflow.slo import reader

    texts = building.files(reader.load(file or reader.OWN))
    building.write(texts, out or building.GENERATED)
    print(f"wrote {len(texts)} files to {out or building.GENERATED}")


@app.command
def validate(file: Path, /) -> None:
    """Say what is wrong with a file of promises, Sloth's too.

    Args:
        file: The file.
    """
    from ai_workflow.slo import build as building

    spec = reader.load(file)
    building.files(spec)
    print(f"{file}: {len(spec.slos)} promises and {len(spec.entries)} alerts are well defined")


@app.command
def metrics() -> None:
    """Write docs/metrics.md anew: every metric, from the table in ai_workflow/telemetry/metrics.py."""
    from ai_workflow.slo.outputs import metrics_page

    metrics_page.write()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 2 a mistake that is said on stderr."""
    try:
        dotenv.load()
        with standard_output.may_be_closed(), process_limit.explained():
            app(arguments, exit_on_error=False, result_action="return_value")
    except CycloptsError:  # it has said what is wrong with the command line
        return FAILED
    except AiWorkflowError as error:
        print(scrub(str(error)), file=sys.stderr)
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
