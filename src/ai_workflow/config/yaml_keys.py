"""Keys of YAML mappings: texts, without the forms that YAML reads as other values."""

from __future__ import annotations

import re

from yaml.nodes import Node, ScalarNode

TAG = "tag:yaml.org,2002:"
NOT_TEXT = re.compile("[\0\ud800-\udfff]")
# `schema` and the name of a column.
_COLUMN_DEPTH = 2


def is_text(key: Node, path: tuple[str, ...]) -> bool:
    """Return whether a key is text; `true` and `false` are options of a column."""
    if not isinstance(key, ScalarNode) or NOT_TEXT.search(key.value):
        return False
    is_option = path[:1] == ("schema",) and len(path) == _COLUMN_DEPTH and key.value in ("true", "false")
    return key.tag == f"{TAG}str" or is_option


def problem(key: Node) -> str:
    """Return why a key is refused."""
    if not isinstance(key, ScalarNode):
        return "a key must be text, not a list or a mapping"
    if key.tag == f"{TAG}merge":
        return "`<<` is not supported: layers are merged already"
    return f"the key `{key.value}` is not text for YAML; quote it"
