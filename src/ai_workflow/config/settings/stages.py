"""Settings of added stages: own code that the rows pass between the loader and the preprocessor."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from ai_workflow.config.settings.config_model import NOT_IN_KEY, RELATIVE_TO_FILE, ConfigModel, Scope
from ai_workflow.plugins import names

# The stages of all flows; an added stage has another name.
BUILT_IN = (
    "data_loader",
    "preprocessor",
    "feature_engineering",
    "parameter_search",
    "trainer",
    "evaluator",
    "registry",
    "inference",
    "result_store",
    "label_joiner",
    "drift_detector",
    "evaluation_store",
)
_RESERVED = ("run", "recovery")
_LOADER = BUILT_IN[0]
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_ONLY_LOADER = (
    "the service cleans and transforms rows by the same code as batches, so that their predictions are equal. "
    f"Add a stage after the loader: stages: {{after: {{{_LOADER}: [module:function]}}}}"
)


def _names(value: Any) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, dict) else []


def _stage_name(kind: str) -> str:
    """Return the name of a function, class or entry point in lower case: `JoinBureau` is `join_bureau`."""
    return _WORD_START.sub("_", kind.rpartition(":")[2]).replace("-", "_").lower()


class AddedStage(ConfigModel):
    """A stage of own code; its name is that of the function, class or entry point, in lower case."""

    scope: ClassVar[Scope] = "pipeline"
    kind: str = Field(description="module:function, or the entry point of an installed package")
    params: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of the function")
    # The digests of the files are in the cache key.
    files: Annotated[dict[str, str], RELATIVE_TO_FILE, NOT_IN_KEY] = Field(
        default_factory=dict,
        description="keyword arguments of the function with paths of files, whose content is in the cache key",
    )

    @property
    def name(self) -> str:
        """The name of the stage."""
        return _stage_name(self.kind)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @field_validator("kind")
    @classmethod
    def _check_kind(cls, kind: str) -> str:
        if problem := names.problem("stages", kind, ()):
            raise ValueError(problem)
        name = _stage_name(kind)
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"the name of a stage is {name!r}; it must be letters, digits and _, beginning with a letter"
            )
        if name in (*BUILT_IN, *_RESERVED):
            raise ValueError(f"{name} is the name of a built-in stage; give the function another name")
        return kind

    @model_validator(mode="after")
    def _check_arguments(self) -> AddedStage:
        if twice := sorted(set(self.params) & set(self.files)):
            raise ValueError(f"{twice[0]} is in params and in files")
        return self


class StagesAfter(ConfigModel):
    """The stage after which the stages of own code run."""

    scope: ClassVar[Scope] = "pipeline"
    data_loader: tuple[AddedStage, ...] = Field(
        default=(), description="stages between the loader and the preprocessor"
    )

    @model_validator(mode="before")
    @classmethod
    def _check_place(cls, value: Any) -> Any:
        if others := [name for name in _names(value) if name in BUILT_IN and name != _LOADER]:
            raise ValueError(f"{others[0]} cannot be followed by a stage of own code: {_ONLY_LOADER}")
        return value

    @field_validator("data_loader")
    @classmethod
    def _check_names(cls, added: tuple[AddedStage, ...]) -> tuple[AddedStage, ...]:
        every = [stage.name for stage in added]
        if twice := sorted({name for name in every if every.count(name) > 1}):
            raise ValueError(f"has two stages named {twice[0]}")
        return added


class Stages(ConfigModel):
    """Stages of own code."""

    scope: ClassVar[Scope] = "pipeline"
    after: StagesAfter = StagesAfter()

    @model_validator(mode="before")
    @classmethod
    def _check_replaced(cls, value: Any) -> Any:
        if others := [name for name in _names(value) if name in BUILT_IN]:
            raise ValueError(f"{others[0]} cannot be replaced by own code: {_ONLY_LOADER}")
        return value
