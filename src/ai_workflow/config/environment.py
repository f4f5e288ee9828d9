"""Environment variables with a fixed format: origins, login of Prefect, certificate files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ai_workflow.errors import AiWorkflowError
from ai_workflow.http_server.origin_check import OriginError, Origins

# Read by HTTP libraries, which ignore some of them if the file does not exist.
CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "AWS_CA_BUNDLE")


class VariableError(AiWorkflowError):
    """A variable has an invalid value."""


def check(env: Mapping[str, str]) -> None:
    """Raise if a variable has an invalid format or the path of a file that does not exist.

    Raises:
        VariableError: with each variable and remedy, a line each; secrets are not shown.
    """
    if problems := list(problems_of(env)):
        raise VariableError("\n".join(problems))


def problems_of(env: Mapping[str, str]) -> Iterator[str]:
    """Yield an error for each variable with an invalid format or the path of a file that does not exist."""
    try:
        Origins.of(env)
    except OriginError as error:
        yield str(error)
    login = env.get("PREFECT_LOGIN")
    if login and not all(login.partition(":")[::2]):
        yield "PREFECT_LOGIN is not of the form user:password. Correct it, or unset PREFECT_LOGIN."
    for name in CERTIFICATES:
        if env.get(name) and not Path(env[name]).exists():
            yield f"{name}: {env[name]} does not exist. Correct the path, or unset {name}."
