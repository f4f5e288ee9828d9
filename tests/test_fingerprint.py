"""What a fingerprint promises: the same for the same in every process, another for anything that changes a result."""

from __future__ import annotations

import ast
import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from ai_workflow import errors, stage_names
from ai_workflow.code_versions import closure
from ai_workflow.config import settings
from ai_workflow.datasets import fingerprint
from ai_workflow.runtime import progress
from ai_workflow.secret_values import Secret
from ai_workflow.storage import store
from ai_workflow.telemetry import instrumentation, journal, logs, metrics, trace_context
from ai_workflow.training import checkpoints, protocol
from tests import processes

PACKAGE = Path(fingerprint.__file__).parents[1]
VALUE = {"b": {3, 1, 2}, "a": [0.1, 1e300, float("nan"), None, True], "ü": {"x": frozenset({("b", 1), ("a", 2)})}}
SAME = """
    from ai_workflow.datasets import fingerprint
    value = {"ü": {"x": frozenset({("a", 2), ("b", 1)})}, "a": [0.1, 1e300, float("nan"), None, True], "b": {2, 3, 1}}
    print(fingerprint.of(value, {"alpha", "beta", "gamma"}), fingerprint.code_version("ai_workflow.stages.trainer"))
"""
# Modules that cannot change the result of a stage, by what they hold: a move of one changes nothing here.
LEFT_OUT = {
    "code_versions",
    "config/settings",
    "datasets/fingerprint.py",
    "errors.py",
    "evaluation/report.py",
    "features/spec.py",
    "plugins",
    "registry/manifest.py",
    "runtime/cancellation.py",
    "runtime/partition_threads.py",
    "runtime/progress.py",
    "secret_values.py",
    "stage_names.py",
    "storage/file_ref.py",
    "storage/locks.py",
    "storage/store.py",
    "telemetry/instrumentation.py",
    "telemetry/journal.py",
    "telemetry/logs.py",
    "telemetry/metrics.py",
    "telemetry/trace_context.py",
    "training/checkpoints.py",
    "training/family_modules.py",
}
# Edits each module named in turn, in a copy of the package, and prints whether the version of a stage changed.
CHANGED = """
    import json, pathlib, sys
    from ai_workflow.datasets import fingerprint
    package, stage, changed = pathlib.Path(fingerprint.__file__).parents[1], sys.argv[1], {}
    families = [name for name in sys.argv[2].split(",") if name]
    before = fingerprint.code_version(stage, *families)
    for name in sys.argv[4:]:
        path = package / name
        text = path.read_text()
        path.write_text(text + sys.argv[3])
        fingerprint.code_version.cache_clear()
        changed[name] = fingerprint.code_version(stage, *families) != before
        path.write_text(text)
    print(json.dumps(changed))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package that may be edited."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _changed(copy: Path, stage: str, *names: str, family: str = "", edit: str = "EDITED = 1\n") -> dict[str, bool]:
    families = f"ai_workflow.training.families.{family}" if family else ""
    read: dict[str, bool] = json.loads(
        processes.python(CHANGED, f"ai_workflow.stages.{stage}", families, edit, *names, PYTHONPATH=str(copy))
    )
    return read


@pytest.mark.slow
def test_fingerprint_is_equal_across_processes(copy: Path) -> None:
    own = (
        f"{fingerprint.of(VALUE, {'gamma', 'alpha', 'beta'})} {fingerprint.code_version('ai_workflow.stages.trainer')}"
    )
    said = {processes.python(SAME, PYTHONHASHSEED=seed) for seed in ("0", "1", "2")}
    assert said | {processes.python(SAME, PYTHONPATH=str(copy))} == {own}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ([1, 2], [2, 1]),
        (0.1, 0.1 + 1e-16),
        (1, 1.0),
        (1, "1"),
        (None, "null"),
        (True, 1),
        ([], {}),
        ([[1], 2], [1, [2]]),
        (settings.Trainer(steps=1), settings.Trainer(steps=2)),
    ],
)
def test_different_values_have_different_fingerprints(one: Any, other: Any) -> None:
    assert fingerprint.of(one) != fingerprint.of(other)


def test_equal_values_have_equal_fingerprints() -> None:
    assert fingerprint.of({"a": 1, "b": (1, 2)}) == fingerprint.of({"b": [1, 2], "a": 1})
    assert fingerprint.of(settings.Trainer()) == fingerprint.of(settings.Trainer(steps=200))
    assert fingerprint.canonical({"b": 1, "a": ["ü"]}) == '{"a":["ü"],"b":1}'


def test_stage_result_is_hashed_by_own_fingerprint() -> None:
    one = {"fingerprint": "f", "message": "in 3 s", "trace_id": "a"}
    assert fingerprint.of(one, 1) == fingerprint.of({"fingerprint": "f", "message": "in 5 s"}, 1)
    assert fingerprint.of(one) != fingerprint.of({"fingerprint": "g"})


def test_column_named_fingerprint_does_not_hide_schema_change() -> None:
    assert fingerprint.of({"schema": {"fingerprint": "text", "age": "integer"}}) != fingerprint.of(
        {"schema": {"fingerprint": "text", "age": "number"}}
    )


def test_canonical_form_of_non_finite_numbers_is_their_text() -> None:
    nan = float("nan")
    assert fingerprint.canonical({"a": [0.5, nan], "b": {"c": (nan,)}}) == '{"a":[0.5,"nan"],"b":{"c":["nan"]}}'


def test_canonical_form_sorts_sets() -> None:
    assert fingerprint.canonical([{"b", "a"}, frozenset((2, 1))]) == '[["a","b"],[1,2]]'


def test_value_without_canonical_form_raises_type_error() -> None:
    with pytest.raises(TypeError, match=r"Path has no canonical form|PosixPath has no canonical form"):
        fingerprint.of({"path": Path()})


@pytest.mark.integration
def test_model_family_change_affects_only_own_family(copy: Path) -> None:
    names = (
        "datasets/split.py",
        "training/protocol.py",
        "training/loop.py",
        "training/families/lightgbm.py",
        "training/batches.py",
        "training/families/torch_mlp.py",
        "training/family_modules.py",
    )
    shared = {
        "datasets/split.py": True,
        "training/protocol.py": True,
        "training/loop.py": True,
        "training/family_modules.py": False,
    }
    torch = {"training/families/torch_mlp.py", "training/batches.py"}
    for family, own in (("lightgbm", {"training/families/lightgbm.py"}), ("torch_mlp", torch)):
        expected = {name: shared.get(name, name in own) for name in names}
        assert _changed(copy, "trainer", *names, family=family) == expected


@pytest.mark.integration
def test_comment_and_docstring_keep_code_version(copy: Path) -> None:
    names = ("datasets/split.py", "datasets/partitions.py", "stages/trainer.py", "training/families/lightgbm.py")
    edit = '# a comment\n"""A text."""\n'
    assert _changed(copy, "trainer", *names, family="lightgbm", edit=edit) == dict.fromkeys(names, False)


@pytest.mark.integration
def test_logging_and_storage_changes_keep_code_version(copy: Path) -> None:
    names = (
        "telemetry/logs.py",
        "telemetry/trace_context.py",
        "telemetry/instrumentation.py",
        "telemetry/journal.py",
        "telemetry/metrics.py",
        "storage/store.py",
        "cli/main.py",
        "evaluation/model_card.py",
    )
    assert _changed(copy, "preprocessor", *names) == dict.fromkeys(names, False)


def test_logging_and_storage_modules_opt_out_of_cache_key() -> None:
    for each in (
        logs.logger, trace_context.bound, instrumentation.stage, journal.Journal, errors.StageError, progress.report,
        errors.RunInterruptedError, checkpoints.Checkpoints, settings.Settings, Secret, fingerprint.of, store.Store,
        metrics.get, stage_names.stage, closure.read, protocol.modules_of,
    ):  # fmt: skip
        names = [each.__module__, each.__module__.rpartition(".")[0]]
        assert any(getattr(import_module(name), "IN_CACHE_KEY", True) is False for name in names), each.__module__


@pytest.mark.integration
@pytest.mark.parametrize("stage", ["data_loader", "preprocessor", "feature_engineering", "trainer", "evaluator"])
def test_every_stage_import_affects_code_version(copy: Path, stage: str) -> None:
    imported = _imports_of(copy / "ai_workflow", f"stages/{stage}.py")
    names = sorted(name for name in imported if not _is_left_out(name))
    assert len(names) >= 3
    assert _changed(copy, stage, *names) == dict.fromkeys(names, True)


def test_library_upgrade_changes_code_version(monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprint.code_version.cache_clear()
    before = fingerprint.code_version("ai_workflow.datasets.split")
    monkeypatch.setattr(fingerprint, "library_version", lambda name: "9.9")
    fingerprint.code_version.cache_clear()
    assert fingerprint.code_version("ai_workflow.datasets.split") != before
    monkeypatch.undo()
    fingerprint.code_version.cache_clear()


def test_missing_library_has_version_none() -> None:
    assert fingerprint.library_version("no-such-distribution") == "none"


def _is_left_out(name: str) -> bool:
    return name in LEFT_OUT or any(name.startswith(f"{folder}/") for folder in LEFT_OUT)


class _WithoutTypeImports(ast.NodeTransformer):
    """Removes `if TYPE_CHECKING:` blocks, whose imports Python does not make."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


def _imports_of(package: Path, first: str) -> set[str]:
    """Return the modules that Python itself would import for one, found by its parser; those left out stop there."""
    seen: set[str] = set()
    queue = [first]
    while queue:
        name = queue.pop()
        if name in seen or _is_left_out(name):
            continue
        seen.add(name)
        tree = _WithoutTypeImports().visit(ast.parse((package / name).read_text()))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ai_workflow"):
                queue += _files(package, str(node.module), [alias.name for alias in node.names])
    return seen


def _files(package: Path, module: str, names: list[str]) -> list[str]:
    folder = Path(*module.split(".")[1:])
    inner = [found for name in names if (found := _file(package, folder / name))]
    own = _file(package, folder) if len(inner) < len(names) else None
    return [*inner, *([own] if own else [])]


def _file(package: Path, module: Path) -> str | None:
    if module == Path():
        return None
    for path in (module.with_suffix(".py"), module / "__init__.py"):
        if (package / path).is_file():
            return str(path)
    return None
