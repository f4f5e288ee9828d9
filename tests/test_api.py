"""The public API: every documented name exists, and importing the package stays cheap."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ai_workflow

ROOT = Path(__file__).parents[1]
HEAVY = {"prefect", "pandas", "numpy", "pyarrow", "pydantic", "yaml", "httpx"}


def test_every_public_name_is_the_object_that_type_checkers_see() -> None:
    tree = ast.parse(Path(ai_workflow.__file__).read_text())
    imports = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("ai_workflow.")
        for alias in node.names
    }
    assert sorted(imports) == sorted(ai_workflow.__all__)
    for name, (module, attribute) in imports.items():
        assert getattr(ai_workflow, name) is getattr(importlib.import_module(str(module)), attribute)


def test_the_docs_page_lists_exactly_the_public_names() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    assert sorted(re.findall(r"^\| `(\w+)", page, re.MULTILINE)) == sorted(ai_workflow.__all__)


@pytest.mark.integration
def test_importing_the_package_loads_no_heavy_library() -> None:
    code = "import sys, ai_workflow; dir(ai_workflow); print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert HEAVY & set(loaded) == set()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'ai_workflow' has no attribute 'missing'"):
        _ = ai_workflow.missing
