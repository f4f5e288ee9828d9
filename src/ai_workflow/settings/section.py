"""The base class of every settings section, and the kinds of values that several sections hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Share = Annotated[float, Field(ge=0, le=1)]
Scope = Literal["pipeline", "deployment"]


@dataclass(frozen=True, slots=True)
class Scoped:
    """Marks a field whose scope is not that of its section."""

    scope: Scope


@dataclass(frozen=True, slots=True)
class FilePath:
    """Marks a field that holds a local path, relative to the file that names it."""


OF_DEPLOYMENT = Scoped("deployment")
RELATIVE_TO_FILE = FilePath()


class Section(BaseModel):
    """A mapping in the YAML: frozen; unknown keys are errors.

    `scope` is declared by each section. A file that names another pipeline resets the keys of scope `pipeline`; those
    of scope `deployment` keep the values of the layers below.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)
    scope: ClassVar[Scope]
