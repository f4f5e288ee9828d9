"""Names of files that are not ASCII or not UTF-8: they work, or one line says why not, in every locale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ai_workflow.config import loader
from ai_workflow.config.settings import CsvSource
from ai_workflow.errors import StageError
from ai_workflow.stages import data_loader
from ai_workflow.storage import file_names
from ai_workflow.storage.store import Store

ROOT = Path(__file__).parents[1]
ROWS = "x,y\n" + "".join(f"{row},{'ab'[row % 2]}\n" for row in range(20))
# Latin-1 for `für`.
NOT_UTF8 = b"f\xfcr"
LOAD = """
import sys
from ai_workflow.config import loader as config
from ai_workflow.errors import AiWorkflowError
from ai_workflow.stages import data_loader
from ai_workflow.storage.store import Store

try:
    source = config.load(sys.argv[1]).settings.source
    print(data_loader.load(Store(sys.argv[2]), source, data_loader.inspect(source))["rows"])
except AiWorkflowError as error:
    print(error, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("variables", "outcome"),
    [
        ({"LC_ALL": "C"}, "20"),
        ({"LC_ALL": "POSIX"}, "20"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "Set PYTHONUTF8=1 or LC_ALL=C.UTF-8"),
    ],
    ids=["C", "POSIX", "C without UTF-8 mode"],
)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "größe 价格"])
def test_non_ascii_file_name_loads_or_error_names_locale_variable(
    tmp_path: Path, variables: dict[str, str], outcome: str, name: str
) -> None:
    (tmp_path / "prix é-1.csv").write_text(ROWS)
    pipeline = {"pipeline": "named", "task": "classification", "target": "y"}
    source = {"kind": "csv", "path": "prix é-*.csv"}
    (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(pipeline | {"source": source}, allow_unicode=True), "utf-8")
    kept = {key: value for key, value in os.environ.items() if key not in ("LANG", "LC_ALL", "LC_CTYPE")}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, f"{name}.yaml", "store"], cwd=tmp_path, env=kept | variables, timeout=240,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
    [line] = done.stdout.splitlines()
    assert line.endswith(outcome)


def test_non_utf8_source_file_name_is_rejected(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + NOT_UTF8 + b".csv"))).write_text(ROWS)
    for path in (str(tmp_path), str(tmp_path / "f*.csv")):
        source = CsvSource(kind="csv", path=path)
        with pytest.raises(StageError, match=r"source\.path '.*f\\udcfcr\.csv': the name is not valid UTF-8\. Rename"):
            data_loader.load(Store(tmp_path / "store"), source, data_loader.inspect(source))


def test_non_utf8_source_folder_name_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + NOT_UTF8))
    folder.mkdir()
    (folder / "rows.csv").write_text(ROWS)
    monkeypatch.chdir(folder)
    with pytest.raises(StageError, match=r"f\\udcfcr.*not valid UTF-8"):
        data_loader.inspect(CsvSource(kind="csv", path="rows.csv"))


@pytest.mark.parametrize("key", ["pipeline file", "current folder"])
def test_non_utf8_config_path_is_rejected(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + NOT_UTF8))
    odd.mkdir()
    file = (odd if key == "pipeline file" else tmp_path) / "own.yaml"
    file.write_text("pipeline: named\n")
    if key == "current folder":
        monkeypatch.chdir(odd)
    with pytest.raises(StageError, match=rf"{key} '.*f\\udcfcr.*': the name is not valid UTF-8\. Rename the file"):
        loader.load(file)


@pytest.mark.parametrize("name", ["rows.csv", "größe 价格.csv", "s3://bucket/é.csv"])
def test_valid_utf8_name_is_accepted(name: str) -> None:
    file_names.require_utf8(name, "source.path")
