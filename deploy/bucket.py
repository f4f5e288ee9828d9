"""`python -m deploy.bucket NAME`: makes a bucket of an object store where there is none, as MinIO begins with none."""

from __future__ import annotations

import sys

import fsspec

from ai_workflow.errors import AiWorkflowError
from ai_workflow.secrets import scrub


def ensure(name: str) -> bool:
    """Make the bucket, and say whether there was none; where and by whom is told by `AWS_…` variables, as usual.

    Raises:
        AiWorkflowError: the object store is not reached, or does not let us.
    """
    try:
        place = fsspec.filesystem("s3")
        if place.exists(name):
            return False
        place.mkdir(name)
    except ImportError:
        raise AiWorkflowError("s3fs is missing: install the project with its extra, '.[s3]'") from None
    except Exception as error:  # whatever botocore says
        raise AiWorkflowError(
            f"bucket '{name}' cannot be made ({type(error).__name__}: {error}). "
            "Look at AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    return True


def main(arguments: list[str]) -> int:
    """Say what was done; the exit code is 1 if it could not be, 2 without a name."""
    if len(arguments) != 1:
        print(f"usage: python -m deploy.bucket NAME\n{__doc__}", file=sys.stderr)
        return 2
    try:
        made = ensure(arguments[0])
    except AiWorkflowError as error:
        print(scrub(f"error: {error}"), file=sys.stderr)
        return 1
    print(f"bucket {arguments[0]}: {'made' if made else 'there already'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
