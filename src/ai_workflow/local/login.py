"""`python -m ai_workflow.local.login`: print the login of Prometheus and Alertmanager as their `--web.config.file`.

People log in as `operator`, at the guard (`ai_workflow.local.guard`). Prometheus and Alertmanager accept the user
`guard` only: a browser that logged in there directly would send the login along with forms of other sites.
Their format: https://prometheus.io/docs/prometheus/latest/configuration/https/
"""

from __future__ import annotations

import os
import sys
from base64 import b64decode, b64encode

import bcrypt

from ai_workflow.errors import AiWorkflowError
from ai_workflow.runtime import command_line
from ai_workflow.slo.outputs.file_text import as_yaml
from ai_workflow.slo.outputs.scrape_config import INNER_USER

VARIABLE = "MONITORING_PASSWORD"
USER = "operator"
# bcrypt ignores what is longer.
MAX_BYTES = 72
# The hash lies beside the password, in files of the same owner: more rounds would only cost time at each start.
_ROUNDS = 10


class PasswordError(AiWorkflowError):
    """A password that Prometheus and Alertmanager do not accept."""


def check(password: str) -> str:
    """Return the password.

    Raises:
        PasswordError: it is empty, too long, or has characters that a password file or a browser would change.
    """
    if not password or len(password.encode()) > MAX_BYTES or not password.isascii() or not password.isprintable():
        why = f"it must have 1 to {MAX_BYTES} printable ASCII characters"
    elif password != password.strip():
        why = "it begins or ends with a space, which Prometheus removes"
    else:
        return password
    raise PasswordError(f"{VARIABLE}: {why}. Make one with `openssl rand -hex 24`")


def web_config(password: str) -> str:
    """Return the text of the file that makes Prometheus and Alertmanager require the login."""
    hashed = bcrypt.hashpw(check(password).encode(), bcrypt.gensalt(_ROUNDS)).decode()
    return as_yaml({"basic_auth_users": {INNER_USER: hashed}}).partition("\n")[2]


def inner(authorization: bytes) -> bytes:
    """Return the `Authorization` that the server behind the guard accepts; any but that of `operator` is unchanged."""
    scheme, _, credentials = authorization.partition(b" ")
    try:
        user, colon, password = b64decode(credentials.strip(), validate=True).partition(b":")
    except ValueError:
        return authorization
    if scheme.lower() != b"basic" or not colon or user != USER.encode():
        return authorization
    return b"Basic " + b64encode(INNER_USER.encode() + b":" + password)


def main() -> int:
    """Print the file; the exit code is 1 if the password is missing or wrong."""
    return command_line.exit_code(lambda: print(web_config(os.environ.get(VARIABLE, "")), end=""))


if __name__ == "__main__":
    sys.exit(main())
