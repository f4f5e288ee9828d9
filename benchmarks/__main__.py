"""`python -m benchmarks [NAME [OPTION ...]]`: runs one benchmark, or all of them one after the other."""

from __future__ import annotations

import importlib
import sys

from ai_workflow.errors import AiWorkflowError

BENCHMARKS = (
    "overhead",
    "resume",
    "registry",
    "label_join",
    "data",
    "serving",
    "abuse",
    "hangs",
    "isolation",
    "exporter",
    "alerting",
    "bootstrap",
    "soak",
)


def main(given: list[str]) -> int:
    """Run the requested benchmark; return 0 if it could be measured."""
    if given and given[0] not in BENCHMARKS:
        print(f"there is no benchmark {given[0]!r}; there is: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    try:
        for name in given[:1] or BENCHMARKS:
            importlib.import_module(f"benchmarks.{name}").main(given[1:])
    except AiWorkflowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
