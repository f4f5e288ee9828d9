"""Deterministic YAML and JSON texts of generated files."""

from __future__ import annotations

import yaml

from ai_workflow import json_text

_HEAD = "# Written by `ai-workflow slo build` from monitoring/slo.yaml. Changes belong there.\n"


class _Dumper(yaml.SafeDumper):
    """YAML dumper with multi-line texts as blocks, without aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def as_yaml(data: object) -> str:
    """Return YAML with keys in insertion order."""
    return _HEAD + yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=10**6, allow_unicode=True)


def as_json(data: object) -> str:
    """Return JSON with sorted keys."""
    return json_text.indented(data, indent=2)
