"""Parameters of the multilayer perceptron: names, defaults and bounds."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError

from ai_workflow.config.settings.config_model import ConfigModel, Scope


class Params(ConfigModel):
    """What `trainer.params` may say."""

    scope: ClassVar[Scope] = "pipeline"
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (64, 64)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    schedule: Literal["cosine", "none"] = "cosine"
    evaluate_every: int | None = Field(default=None, ge=1)
    threads: int = Field(default=1, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"


def problems(given: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the name of each parameter that cannot be, and why."""
    try:
        Params.model_validate(given)
    except ValidationError as error:
        found = [(str(each["loc"][0]), each["type"], each["msg"]) for each in error.errors()]
        return [(name, _sentence(kind, name, message)) for name, kind, message in found]
    return []


def _sentence(kind: str, name: str, message: str) -> str:
    if kind != "extra_forbidden":
        return message.replace("Input should be", "must be")
    near = difflib.get_close_matches(name, Params.model_fields, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(Params.model_fields)}"
    return f"is not a parameter of torch_mlp; {hint}"
