"""Webhook bodies: JSON -> models, and the notice that stands for a body that is too large."""

from __future__ import annotations

import json
from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from ai_workflow import json_text
from ai_workflow.alerting.messages.notification import Alert, Notice
from ai_workflow.errors import AiWorkflowError

Model = TypeVar("Model", bound=BaseModel)


class BadBody(AiWorkflowError):
    """The body cannot be understood; sent again it would not be either."""


def read(model: type[Model], body: bytes) -> Model:
    """Return the content of a JSON body.

    Raises:
        BadBody: it is no JSON, or not of this form; each wrong key is named, no value is shown.
    """
    try:
        return model.model_validate(_decoded(body))
    except ValidationError as error:
        places = [
            f"{'.'.join(map(str, found['loc'])) or 'the body'}: {found['msg']}"
            for found in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise BadBody(f"the body is not as it must be: {'; '.join(places[:5])}") from None


def too_large(source: str, most: int) -> Notice:
    """Return a notice for a body that was not read, so that its alerts are not lost without a message."""
    summary = (
        f"A webhook from {source} has more than {most} bytes and was not read. Look at the alerts there. "
        "Raise relay.max_body_bytes, or group alerts by more labels."
    )
    alert = Alert(f"{source}/too-large", "firing", "WebhookTooLarge", "page", summary, labels={"source": source})
    return Notice(f"{source}/too-large", (alert,))


def _decoded(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        reason = str(error)
    # Unpaired surrogates and bytes that are no UTF-8, which orjson refuses, become U+FFFD.
    try:
        paired = json_text.line(json_text.finite(json.loads(body.decode("utf-8", "replace"))))
        return orjson.loads(paired.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
    except (ValueError, RecursionError):
        raise BadBody(f"the body is not JSON: {reason}") from None
