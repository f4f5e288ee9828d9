"""Base class of settings sections, and types of values in several sections."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?")


def is_http_url(url: str) -> bool:
    """Return whether a text is an http or https URL with a valid host and port, and without spaces."""
    if not url.isprintable() or re.search(r"\s", url):
        return False
    try:
        parts = urlsplit(url)
        # Reading port and host validates them.
        has_port = parts.port is None or parts.port > 0
        return parts.scheme in ("http", "https") and bool((parts.hostname or "").encode("idna")) and has_port
    except ValueError:
        return False


def _host(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if not _HOST_NAME.fullmatch(text):
            raise ValueError("must be an IP address or a host name, without scheme and port") from None
    return text


def _http_url(text: str) -> str:
    if not is_http_url(text):
        raise ValueError("must be an http or https URL, such as http://host:port/path")
    return text


Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Host = Annotated[str, AfterValidator(_host)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Scope = Literal["pipeline", "deployment"]


@dataclass(frozen=True, slots=True)
class Scoped:
    """Marker of a field with another scope than its section."""

    scope: Scope


@dataclass(frozen=True, slots=True)
class FilePath:
    """Marker of a field with a local path that is relative to the file that sets it."""


@dataclass(frozen=True, slots=True)
class CacheKeyExclusion:
    """Marker of a field that is not in cache keys, because it cannot change the result of a stage."""


OF_DEPLOYMENT = Scoped("deployment")
NOT_IN_KEY = CacheKeyExclusion()
RELATIVE_TO_FILE = FilePath()


class ConfigModel(BaseModel):
    """A section of the settings: a frozen model that rejects unknown keys.

    Each section declares its `scope`. A file that names another pipeline resets the keys of scope `pipeline`; those
    of scope `deployment` keep the values of lower layers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)
    scope: ClassVar[Scope]

    def used(self) -> ConfigModel:
        """Return the section with fields that have no effect set to their defaults."""
        return self

    def _without(self, *names: str) -> ConfigModel:
        """Return the section with some fields set to their defaults."""
        fields = type(self).model_fields
        return self.model_copy(update={name: fields[name].get_default(call_default_factory=True) for name in names})
