"""A webhook's body that is not what it must be."""

from __future__ import annotations

from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from ai_workflow.errors import AiWorkflowError

Model = TypeVar("Model", bound=BaseModel)


class BadBody(AiWorkflowError):
    """The body cannot be understood; sent again it would not be either."""


def read(model: type[Model], body: bytes) -> Model:
    """Return what a JSON body holds.

    Raises:
        BadBody: it is no JSON, or not of this form; each wrong place is named, no value shown.
    """
    try:
        return model.model_validate(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        raise BadBody(f"the body is not JSON: {error}") from None
    except ValidationError as error:
        places = [
            f"{'.'.join(map(str, found['loc'])) or 'the body'}: {found['msg']}"
            for found in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise BadBody(f"the body is not as it must be: {'; '.join(places[:5])}") from None
