"""`python -m ai_workflow.provisioning.storage_bucket NAME`: create a bucket in an object store."""

from __future__ import annotations

import sys

import fsspec

from ai_workflow.errors import AiWorkflowError
from ai_workflow.runtime import command_line


def ensure(name: str) -> bool:
    """Create the bucket if it does not exist, and return whether it was created; `AWS_…` variables name the store.

    Raises:
        AiWorkflowError: the object store cannot be reached, or refuses.
    """
    try:
        filesystem = fsspec.filesystem("s3")
        if filesystem.exists(name):
            return False
        filesystem.mkdir(name)
    except ImportError:
        raise AiWorkflowError("s3fs is missing: install the project with its extra, '.[s3]'") from None
    except Exception as error:  # botocore raises many types
        raise AiWorkflowError(
            f"bucket '{name}' cannot be created ({type(error).__name__}: {error}). "
            "Look at AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    return True


def main(arguments: list[str]) -> int:
    """Print the result, and return the exit code: 1 if it failed, 2 for wrong usage."""
    if len(arguments) != 1:
        print(f"usage: python -m ai_workflow.provisioning.storage_bucket NAME\n{__doc__}", file=sys.stderr)
        return 2
    return command_line.exit_code(lambda: _create(arguments[0]))


def _create(name: str) -> None:
    print(f"bucket {name}: {'created' if ensure(name) else 'exists already'}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
