"""The code version of a stage: what its code computes counts, and where the code is does not."""

from __future__ import annotations

import ast
import py_compile
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ai_workflow.code_versions import closure, syntax
from ai_workflow.datasets import fingerprint
from ai_workflow.errors import StageError
from tests import processes

PACKAGE = Path(fingerprint.__file__).parents[1]
STAGES = (
    "data_loader", "drift_detector", "evaluation_store", "evaluator", "feature_engineering", "inference",
    "label_joiner", "parameter_search", "preprocessor", "registry", "result_store", "trainer",
)  # fmt: skip
VERSIONS = """
    from importlib import import_module
    import sys
    from ai_workflow.datasets import fingerprint; from ai_workflow import stage_names
    for module in sys.argv[1:]:
        work = import_module(module)
        works = [f for f in vars(work).values() if hasattr(f, "stage_name") and f.__module__ == module]
        names = {stage_names.name_of(f) for f in works}
        print(*names, fingerprint.code_version(module, "ai_workflow.training.families.lightgbm"))
"""
Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes files below a folder that Python searches for modules."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(**files: str) -> None:
        for name, text in files.items():
            path = tmp_path / (name.replace("__", "/") + ".py").replace("/init", "/__init__")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    return write


def version(module: str, *loaded: str) -> tuple[str, ...]:
    """Return what `code_version` is a digest of, without its memory."""
    return closure.read(module, *loaded).digests


USE = "from shop.rates import of\n\ndef run(x):\n    return of(x)\n"
RATES = "def of(x):\n    return x * 2\n"


@pytest.mark.integration
@pytest.mark.parametrize(
    "stage",
    [
        "import shop.rates",
        "import shop.rates as r",
        "from shop import rates",
        "from shop import rates as r",
        "from shop.rates import of",
        "from shop.rates import of as f, missing",
        "from shop.rates import *",
        "from . import rates",
        "from .rates import of",
        "from . import (\n    rates as r,\n)",
        "import json, shop.rates",
        "def run():\n    from .rates import of",
        "class A:\n    if True:\n        import shop.rates",
        "try:\n    import shop.none\nexcept ImportError:\n    from .rates import of",
        "import importlib\nm = importlib.import_module('shop.rates')",
        "from importlib import import_module\nm = import_module('.rates', __package__)",
        "m = __import__(name='shop.rates')",
        "FAMILIES = {'a': 'shop.rates'}",
        "FAMILIES = {'a': 'shop.rates:of'}",
        "from shop import of",
        "from .between import of",
        "import between_shop",
    ],
)
def test_imported_module_change_alters_version_for_any_import_form(write: Write, stage: str) -> None:
    write(
        shop__init="from shop.rates import of\n",
        shop__stage=f"{stage}\nX = 1\n",
        shop__rates=RATES,
        shop__between="from .rates import of\n",
        between_shop="import shop.between\nY = 1\n",
    )
    before = version("shop.stage")
    write(shop__rates=RATES.replace("2", "3"))
    assert version("shop.stage") != before


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("shop__stage", '"""What it does."""\n# why\n' + USE.replace("return", '"""Text."""\n    return')),
        ("shop__stage", USE.replace("\n\n", "\n\n\n\n").replace("(x)", "( x )")),
        ("shop__stage", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import shop.other\n" + USE),
        ("shop__rates", "# -*- coding: utf-8 -*-\n" + RATES.replace("x * 2", "(x *\n        2)  # twice")),
        ("shop__other", "Z = 2\n"),
    ],
)
def test_comments_whitespace_and_types_keep_code_version(write: Write, name: str, text: str) -> None:
    write(shop__stage="from typing import TYPE_CHECKING\n" + USE, shop__rates=RATES, shop__other="Z = 1\n")
    before = version("shop.stage")
    text = text if "TYPE_CHECKING" in text or name != "shop__stage" else "from typing import TYPE_CHECKING\n" + text
    write(**{name: text})
    assert version("shop.stage") == before


@pytest.mark.parametrize(
    "text",
    [
        USE.replace("of(x)", "of(x) + 1"),
        USE.replace("run(x)", "run(x, y=0)"),
        USE.replace("    return", "    print('rates')\n    return"),
        USE.replace("def run(x)", "def run(x: int)"),
        USE.replace("def run", "@print\ndef run"),
        USE + "MISSING = ('NA',)\n",
    ],
)
def test_stage_code_change_alters_code_version(write: Write, text: str) -> None:
    write(shop__stage=USE, shop__rates=RATES)
    before = version("shop.stage")
    write(shop__stage=text)
    assert version("shop.stage") != before


def test_moved_or_renamed_module_keeps_code_version(write: Write, tmp_path: Path) -> None:
    write(shop__stage=USE, shop__rates="from . import money\n" + RATES, shop__money="CENT = 1\n")
    before = version("shop.stage")
    write(
        store__stages__sell=USE.replace("shop.rates", "store.prices.table"),
        store__prices__init='"""Prices."""\n',
        store__prices__table="from ..cash import coins as money\n" + RATES,
        store__cash__coins="# coins\nCENT = 1\n",
    )
    assert version("store.stages.sell") == before
    write(
        store__prices__init="from store.prices.table import of\n",
        store__stages__sell=USE.replace("shop.rates", "store.prices"),
    )
    assert version("store.stages.sell") == before


def test_a_name_of_the_public_api_counts_as_the_module_that_defines_it(write: Write) -> None:
    write(
        by_api="from ai_workflow import StageError, Dataset as Data\n\ndef run(x):\n    return Data(x)\n",
        by_module="from ai_workflow.datasets.partitions import Dataset as Data\nfrom ai_workflow.errors import "
        "StageError\n\ndef run(x):\n    return Data(x)\n",
    )
    assert version("by_api") == version("by_module")


def test_same_name_from_other_module_alters_code_version(write: Write) -> None:
    both = "import shop.rates, shop.fees\n"
    write(shop__stage=both + USE, shop__rates=RATES, shop__fees=RATES.replace("2", "3"))
    before = version("shop.stage")
    write(shop__stage=both + USE.replace("shop.rates import", "shop.fees import"))
    assert version("shop.stage") != before


@pytest.mark.parametrize(
    "form", ["from shop.{} import of\n", "from shop.{} import *\n", "from shop.{} import of as run\n"]
)
def test_import_order_matters_for_same_bound_name(write: Write, form: str) -> None:
    write(
        shop__stage=form.format("rates") + form.format("fees") + "of(1)\n",
        shop__rates=RATES,
        shop__fees="def of(x): pass\n",
    )
    before = version("shop.stage")
    write(shop__stage=form.format("fees") + form.format("rates") + "of(1)\n")
    assert version("shop.stage") != before


def test_import_order_of_distinct_names_is_ignored(write: Write) -> None:
    lines = [
        "import json\n",
        "import shop.rates\n",
        "import shop.fees\n",
        "from shop.rates import of\n",
        "from os import sep\n",
    ]
    write(shop__stage="".join(lines) + "of(1)\n", shop__rates=RATES, shop__fees="X = 1\n")
    before = version("shop.stage")
    write(shop__stage="".join(reversed(lines)) + "of(1)\n")
    assert version("shop.stage") == before


def test_installed_stage_hashes_own_package_and_library_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site-packages"
    for name, text in {"acme/stage.py": "import acme.rates, other.rates, pluggy\n", "acme/rates.py": RATES}.items():
        (installed / name).parent.mkdir(parents=True, exist_ok=True)
        (installed / name).write_text(text + "X = 1\n")
    (installed / "other").mkdir()
    (installed / "other/rates.py").write_text(RATES)
    monkeypatch.syspath_prepend(installed)
    before = closure.read("acme.stage")
    assert "pluggy" in before.libraries
    (installed / "other/rates.py").write_text("raise SystemExit\n")
    assert closure.read("acme.stage") == before
    (installed / "acme/rates.py").write_text(RATES + "Y = 1\n")
    assert closure.read("acme.stage") != before


def test_user_stages_have_distinct_versions_without_import(write: Write) -> None:
    write(
        my_stages="raise SystemExit('run')\n",
        other_stages="raise SystemExit('run too')\n",
        acme__init="1 / 0\n",
        acme__stages__enrich="X = 1\n",
    )
    found = {version(name) for name in ("my_stages", "other_stages", "acme.stages.enrich")}
    assert len(found) == 3
    assert fingerprint.code_version("my_stages") != fingerprint.code_version("other_stages")


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        ("shop.none", "module shop.none of a stage is not found"),
        ("none.at.all", "module none.at.all of a stage is not found"),
        ("shop.compiled", "module shop.compiled has no Python source"),
        ("shop.imports_compiled", "module shop.compiled has no Python source"),
        ("shop.broken", "broken.py cannot be read"),
        ("shop.imports_broken", "broken.py cannot be read"),
        ("shop.deep", "deep.py cannot be read"),
        ("shop", "module shop has no Python source"),
        ("sys", "module sys has no Python source"),
    ],
)
def test_unreadable_module_raises_stage_error(write: Write, tmp_path: Path, module: str, problem: str) -> None:
    write(
        shop__compiled="X = 1\n",
        shop__broken="def (:\n",
        shop__deep="X = " + "-" * 20_000 + "1\n",
        shop__imports_compiled="from shop import compiled\n",
        shop__imports_broken="from shop import broken\n",
    )
    source = tmp_path / "shop/compiled.py"
    py_compile.compile(str(source), str(source.with_suffix(".pyc")))
    source.unlink()
    with pytest.raises(StageError, match=re.escape(problem)) as caught:
        version(module)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "from pathlib import Path\nX = (Path(__file__).parent / 'words.txt').read_text()\n",
        "from pathlib import Path\nX = (Path(__file__).parent / 'data' / 'words.txt').read_text()\n",
        "import os\nX = open(os.path.join(os.path.dirname(__file__), 'data/words.txt'))\n",
        "from importlib.resources import files\nX = files('shop.data').joinpath('words.txt').read_text()\n",
    ],
)
def test_referenced_data_file_is_part_of_code_version(write: Write, tmp_path: Path, text: str) -> None:
    write(shop__stage=text, shop__data__init="")
    files = [tmp_path / "shop" / name for name in ("words.txt", "data/words.txt")]
    for path in files:
        path.write_text("a")
    before = version("shop.stage")
    for path in files:
        path.write_text("b")
    assert version("shop.stage") != before


def test_module_opted_out_of_cache_key_is_excluded(write: Write) -> None:
    write(
        shop__stage="from shop import log\nfrom shop.shown.page import draw\nX = 1\n",
        shop__log="IN_CACHE_KEY = False\nimport shop.rates\nY = 1\n",
        shop__rates=RATES,
        shop__shown__init="IN_CACHE_KEY = False\n",
        shop__shown__page="def draw(): pass\n",
    )
    before = version("shop.stage")
    write(shop__log="IN_CACHE_KEY = False\nY = 2\n", shop__rates="X = 1\n", shop__shown__page="def draw(): return 1\n")
    assert version("shop.stage") == before
    write(shop__log="IN_CACHE_KEY: bool = False\nY = 3\n")
    assert version("shop.stage") == before
    write(shop__log="IN_CACHE_KEY = True\nY = 2\n")
    assert version("shop.stage") != before


def test_deep_expressions_and_unusual_literals_are_hashed(write: Write) -> None:
    write(
        deep="X = "
        + " + ".join(["'a'"] * 900)
        + "\nY = '\\udcff', 0x"
        + "f" * 5000
        + ", 'a.py', '..', 'a.b.c:d', b'x'\n"
    )
    assert len(version("deep")) == 1


def test_family_library_is_hashed_only_for_own_family() -> None:
    lightgbm, torch = (
        set(closure.read("ai_workflow.stages.trainer", f"ai_workflow.training.families.{name}").libraries)
        for name in ("lightgbm", "torch_mlp")
    )
    assert lightgbm - torch == {"lightgbm"}
    assert torch - lightgbm == {"torch"}


@pytest.mark.slow
def test_moving_package_modules_keeps_stage_names_and_versions(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for root in (old, new):
        shutil.copytree(PACKAGE, root / "ai_workflow", ignore=shutil.ignore_patterns("__pycache__"))
    moves = {
        "datasets.partitions": "tables.partitions",
        "datasets.split": "tables.parting",
        "telemetry.logs": "log_lines",
        "config.settings": "config_models",
        "stages.trainer": "stages.train",
        "stages.registry": "publishers.publish_stage",
        "training.families": "model_families",
    }
    for before, after in moves.items():
        _move(new / "ai_workflow", before, after)
    renamed = [moves.get(f"stages.{name}", f"stages.{name}") for name in STAGES]
    family = "ai_workflow.model_families.lightgbm"
    first = processes.python(VERSIONS, *(f"ai_workflow.stages.{name}" for name in STAGES), PYTHONPATH=str(old))
    script = VERSIONS.replace("ai_workflow.training.families.lightgbm", family)
    assert processes.python(script, *(f"ai_workflow.{name}" for name in renamed), PYTHONPATH=str(new)) == first
    assert [line.split()[0] for line in first.splitlines()] == list(STAGES)


def _move(package: Path, before: str, after: str) -> None:
    """Move a module or package, and write the imports of all modules for the new place."""
    source, target = (package / name.replace(".", "/") for name in (before, after))
    target.parent.mkdir(parents=True, exist_ok=True)
    for folder in (target.parent,):
        if not (folder / "__init__.py").exists():
            (folder / "__init__.py").write_text('"""A package."""\n')
    if source.is_dir():
        shutil.move(source, target)
    else:
        shutil.move(source.with_suffix(".py"), target.with_suffix(".py"))
    above, name = before.rpartition(".")[0], before.rpartition(".")[2]
    old_parent, new_parent = (f"ai_workflow.{part}".rstrip(".") for part in (above, after.rpartition(".")[0]))
    new_name = after.rpartition(".")[2]
    for path in package.rglob("*.py"):
        text = re.sub(rf"\bai_workflow\.{re.escape(before)}\b", f"ai_workflow.{after}", path.read_text())
        path.write_text(_imports_moved(text, old_parent, name, new_parent, new_name))


def _imports_moved(text: str, old_parent: str, name: str, new_parent: str, new_name: str) -> str:
    def moved(match: re.Match[str]) -> str:
        names = [each.strip() for each in (match[2] or match[3]).replace("\n", " ").split(",") if each.strip()]
        if name not in names:
            return match[0]
        names.remove(name)
        rest = f"{match[1]}from {old_parent} import {', '.join(names)}\n" if names else ""
        return f"{rest}{match[1]}from {new_parent} import {new_name} as {name}"

    pattern = rf"^( *)from {re.escape(old_parent)} import (?:\(([^)]*)\)|([^\n(]+))"
    return re.sub(pattern, moved, text, flags=re.MULTILINE)


def test_parser_disturbed_by_another_thread_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = ast.parse
    failures = iter([SystemError("AST constructor recursion depth mismatch (before=90, after=73)")] * 2)

    def disturbed(source: bytes) -> ast.Module:
        for failure in failures:
            raise failure
        return parse(source)

    monkeypatch.setattr(ast, "parse", disturbed)
    source = b"a_name_that_no_other_test_parses = 1"
    assert syntax.read(source).digest
    assert list(failures) == []


def test_persistent_parser_failure_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: bytes) -> ast.Module:
        raise SystemError("broken")

    monkeypatch.setattr(ast, "parse", broken)
    with pytest.raises(SystemError, match="broken"):
        syntax.read(b"another_name_that_no_other_test_parses = 1")
