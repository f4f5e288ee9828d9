"""Parameters of the multilayer perceptron: names, defaults and bounds."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError

from ai_workflow.config.settings.config_model import ConfigModel, Scope


class Params(ConfigModel):
    """`trainer.params` of the multilayer perceptron."""

    scope: ClassVar[Scope] = "pipeline"
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (64, 64)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    schedule: Literal["cosine", "none"] = "cosine"
    evaluate_every: int | None = Field(default=None, ge=1)
    threads: int = Field(default=1, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"


def problems(params: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the name of each invalid parameter, and the reason."""
    try:
        Params.model_validate(params)
    except ValidationError as error:
        errors = [(str(each["loc"][0]), each["type"], each["msg"]) for each in error.errors()]
        return [(name, _sentence(kind, name, message)) for name, kind, message in errors]
    return []


def _sentence(kind: str, name: str, message: str) -> str:
    if kind != "extra_forbidden":
        return message.replace("Input should be", "must be")
    similar = difflib.get_close_matches(name, Params.model_fields, 1)
    hint = f"did you mean '{similar[0]}'?" if similar else f"known here: {', '.join(Params.model_fields)}"
    return f"is not a parameter of torch_mlp; {hint}"
