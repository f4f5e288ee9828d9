"""`python -m monitoring build | validate FILE`: rules, dashboards, routes and their tests from `slo.yaml`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ai_workflow.errors import AiWorkflowError
from ai_workflow.secrets import scrub

FAILED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 2 a mistake that is said on stderr."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except AiWorkflowError as error:
        print(scrub(str(error)), file=sys.stderr)
        return FAILED


def _build(options: argparse.Namespace) -> int:
    from monitoring import build, reading

    texts = build.files(reading.load(options.file or reading.OWN))
    build.write(texts, options.out or build.GENERATED)
    print(f"wrote {len(texts)} files to {options.out or build.GENERATED}")
    return 0


def _validate(options: argparse.Namespace) -> int:
    from monitoring import build, reading

    spec = reading.load(options.file)
    build.files(spec)
    print(f"{options.file}: {len(spec.slos)} promises and {len(spec.entries)} alerts are well defined")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m monitoring", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="write monitoring/generated/ anew")
    build.add_argument("--file", type=Path, help="promises other than monitoring/slo.yaml")
    build.add_argument("--out", type=Path, help="a folder other than monitoring/generated/")
    build.set_defaults(run=_build)
    validate = commands.add_parser("validate", help="say what is wrong with a file of promises, Sloth's too")
    validate.add_argument("file", type=Path, metavar="FILE")
    validate.set_defaults(run=_validate)
    return parser


if __name__ == "__main__":
    sys.exit(main())
