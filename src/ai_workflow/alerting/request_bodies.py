"""Webhook bodies: JSON parsing, and the notification about a body that is too large."""

from __future__ import annotations

import json
from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from ai_workflow import json_text
from ai_workflow.alerting.messages.notification import Alert, Notification
from ai_workflow.errors import AiWorkflowError

Model = TypeVar("Model", bound=BaseModel)


class InvalidBodyError(AiWorkflowError):
    """The body of a webhook is invalid, so a retry would fail as well."""


def read(model: type[Model], body: bytes) -> Model:
    """Return a JSON body as a model.

    Raises:
        InvalidBodyError: the body is not JSON, or does not match the model. The error shows no values.
    """
    try:
        return model.model_validate(_decoded(body))
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or 'the body'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise InvalidBodyError(f"the body is invalid: {'; '.join(problems[:5])}") from None


def too_large(source: str, max_bytes: int) -> Notification:
    """Return a notification about a body that was not read, so that its alerts are not lost silently."""
    summary = (
        f"A webhook from {source} has more than {max_bytes} bytes and was not read. Check the alerts there. "
        "Raise relay.max_body_bytes, or group alerts by more labels."
    )
    alert = Alert(f"{source}/too-large", "firing", "WebhookTooLarge", "page", summary, labels={"source": source})
    return Notification(f"{source}/too-large", (alert,))


def _decoded(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        reason = str(error)
    # Unpaired surrogates and invalid UTF-8, which orjson rejects, become U+FFFD.
    try:
        paired = json_text.line(json_text.finite(json.loads(body.decode("utf-8", "replace"))))
        return orjson.loads(paired.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
    except (ValueError, RecursionError):
        raise InvalidBodyError(f"the body is not JSON: {reason}") from None
