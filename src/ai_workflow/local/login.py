"""`python -m ai_workflow.local.login`: print the `--web.config.file` of Prometheus and Alertmanager.

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
# bcrypt ignores further bytes.
MAX_BYTES = 72
# The hash is stored beside the password, in files of the same owner; more rounds would only slow each start.
_ROUNDS = 10


class PasswordError(AiWorkflowError):
    """A password that Prometheus and Alertmanager do not accept."""


def check(password: str) -> str:
    """Return the password.

    Raises:
        PasswordError: it is empty, too long, or has characters that a password file or a browser would change.
    """
    if not password or len(password.encode()) > MAX_BYTES or not password.isascii() or not password.isprintable():
        reason = f"it must have 1 to {MAX_BYTES} printable ASCII characters"
    elif password != password.strip():
        reason = "it begins or ends with a space, which Prometheus removes"
    else:
        return password
    raise PasswordError(f"{VARIABLE}: {reason}. Make one with `openssl rand -hex 24`")


def web_config(password: str) -> str:
    """Return the text of the web configuration file that requires the login."""
    hashed = bcrypt.hashpw(check(password).encode(), bcrypt.gensalt(_ROUNDS)).decode()
    return as_yaml({"basic_auth_users": {INNER_USER: hashed}}).partition("\n")[2]


def inner(authorization: bytes) -> bytes:
    """Return the `Authorization` header for the server behind the guard; headers of other users are unchanged."""
    scheme, _, credentials = authorization.partition(b" ")
    try:
        user, colon, password = b64decode(credentials.strip(), validate=True).partition(b":")
    except ValueError:
        return authorization
    if scheme.lower() != b"basic" or not colon or user != USER.encode():
        return authorization
    return b"Basic " + b64encode(INNER_USER.encode() + b":" + password)


def main() -> int:
    """Print the file; the exit code is 1 if the password is missing or invalid."""
    return command_line.exit_code(lambda: print(web_config(os.environ.get(VARIABLE, "")), end=""))


if __name__ == "__main__":
    sys.exit(main())
