"""`ai-workflow pipeline add`: a pipeline file that trains unchanged, from tables as people have them."""

from __future__ import annotations

import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from ai_workflow.cli import main
from ai_workflow.config import loader, project_pipelines
from ai_workflow.config.layers import INSTALLED_PROJECTS
from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.new_pipeline import creation
from ai_workflow.new_pipeline.creation import NewPipeline
from ai_workflow.stages import data_loader
from ai_workflow.storage.store import Store
from tests.sources.workbooks import workbook
from tests.stages.tables import Pipeline

ROWS = 300
pytestmark = pytest.mark.integration


def table(seed: int = 0) -> pd.DataFrame:
    """Return rows of every type with two outcomes, of which one is a class and one a number."""
    chance = random.Random(seed)
    lines = []
    for number in range(ROWS):
        age, city = chance.randint(18, 80), chance.choice(["Aachen", "Bonn", "Celle"])
        signal = age / 80 + (0.5 if city == "Bonn" else 0) + chance.gauss(0, 0.05)
        lines.append(
            {
                "customer_id": f"C{number:05d}",
                "age": age,
                "city": city,
                "income": round(1000 * chance.lognormvariate(1, 0.5), 2),
                "opened": (date(2024, 1, 1) + timedelta(days=number)).isoformat(),
                "comment": f"text number {number} of {city} {chance.random()}",
                "price": round(100 * signal, 2),
                "target": "yes" if signal > 0.8 else "no",
            }
        )
    return pd.DataFrame(lines)


def added(folder: Path, file: Path, **options: Any) -> NewPipeline:
    """Add the pipeline `shop` to a project in a folder."""
    return creation.create(folder, "shop", file, **options)


def trained(folder: Path, settings: Settings) -> dict[str, Any]:
    """Return the features of a training with the settings, which publishes a version."""
    store = Store(folder / "store")
    quick = settings.model_copy(update={"trainer": settings.trainer.model_copy(update={"steps": 20})})
    run = Pipeline(store, quick, alone=True)
    source = quick.reading(quick.source)
    loaded = data_loader.load(store, source, data_loader.inspect(source))
    featured = run.fit(run.clean(loaded))
    assert run.train(featured)["steps"]
    return featured


def csv(folder: Path, frame: pd.DataFrame, name: str = "shop.csv", **options: Any) -> Path:
    frame.to_csv(folder / name, index=False, **options)
    return folder / name


# -- shapes of tables ------------------------------------------------------------------------------------------------


def test_plain_csv_with_clear_target_trains_unchanged(tmp_path: Path) -> None:
    found = added(tmp_path, csv(tmp_path, table()))

    settings = found.settings
    assert (settings.pipeline, settings.task, settings.target, settings.id) == (
        "shop", "classification", "target", "customer_id",
    )  # fmt: skip
    assert yaml.safe_load(found.file.read_text())["source"] == {"kind": "csv", "path": "../../shop.csv"}
    trained(tmp_path, loader.load(found.file).settings)


def test_semicolons_decimal_commas_and_cp1252_are_recognized(tmp_path: Path) -> None:
    frame = table().rename(columns={"city": "größe"}).replace({"größe": {"Bonn": "Köln"}})
    frame["opened"] = pd.to_datetime(frame["opened"]).dt.strftime("%d.%m.%Y")
    found = added(tmp_path, csv(tmp_path, frame, sep=";", decimal=",", encoding="cp1252"))

    source = yaml.safe_load(found.file.read_text())["source"]
    assert source == {"kind": "csv", "path": "../../shop.csv", "delimiter": ";", "encoding": "cp1252"}
    text = found.file.read_text(encoding="utf-8")
    assert "#   income: {type: number, decimal: ',', nullable: true}" in text
    assert "#   opened: {type: datetime, format: '%d.%m.%Y', nullable: true}" in text
    assert "#   größe: {type: category, nullable: true}" in text
    trained(tmp_path, loader.load(found.file).settings)


def test_parquet_with_regression_target_trains_unchanged(tmp_path: Path) -> None:
    table().drop(columns="target").to_parquet(tmp_path / "shop.parquet")
    found = added(tmp_path, tmp_path / "shop.parquet", target="price")

    assert (found.settings.source.kind, found.settings.task) == ("parquet", "regression")
    trained(tmp_path, loader.load(found.file).settings)


def test_number_of_few_whole_values_is_classified_and_of_many_is_regression(tmp_path: Path) -> None:
    frame = table()
    frame["target"] = (frame["target"] == "yes").astype(int)
    assert added(tmp_path / "a", csv(tmp_path, frame, "a.csv")).settings.task == "classification"
    assert added(tmp_path / "b", csv(tmp_path, frame, "b.csv"), target="age").settings.task == "regression"
    assert added(tmp_path / "c", tmp_path / "b.csv", target="age", task="classification").settings.task == (
        "classification"
    )


def test_table_without_id_has_none(tmp_path: Path) -> None:
    found = added(tmp_path, csv(tmp_path, table().drop(columns=["customer_id", "comment"])))

    assert found.settings.id is None
    text = found.file.read_text()
    assert "\nid:" not in text
    assert "Doubtful" not in text
    trained(tmp_path, loader.load(found.file).settings)


def test_dates_are_suggested_as_timestamp_and_suggestion_is_valid(tmp_path: Path) -> None:
    found = added(tmp_path, csv(tmp_path, table()))

    line = next(line for line in found.file.read_text().splitlines() if "timestamp: opened" in line)
    assert line.startswith("#   timestamp: opened  # 2024-01-01")
    found.file.write_text(found.file.read_text().replace(line, "timestamp: opened"))
    settings = loader.load(found.file).settings
    assert settings.timestamp == "opened"
    trained(tmp_path, settings)


def test_text_heavy_table_names_columns_left_out(tmp_path: Path) -> None:
    frame = table()
    frame["summary"] = [f"another summary {number} {number**2}" for number in range(ROWS)]
    found = added(tmp_path, csv(tmp_path, frame))

    text = found.file.read_text()
    assert "#   comment: {type: text, nullable: true}  # left out of the features" in text
    assert "#   summary: {type: text, nullable: true}  # left out of the features" in text
    assert "# - column 'summary' is left out of the features" in text
    assert "# - column 'customer_id'" not in text
    trained(tmp_path, loader.load(found.file).settings)


def test_column_without_values_is_dropped(tmp_path: Path) -> None:
    frame = table()
    frame["notes"] = None
    found = added(tmp_path, csv(tmp_path, frame))

    assert "  notes: {drop: true}  # no value in any row" in found.file.read_text()
    trained(tmp_path, loader.load(found.file).settings)


def test_json_lines_and_excel_are_read(tmp_path: Path) -> None:
    table().to_json(tmp_path / "shop.jsonl", orient="records", lines=True)
    assert added(tmp_path / "a", tmp_path / "shop.jsonl").settings.source.kind == "jsonl"
    rows = [list(table().columns), *table().astype(object).to_numpy().tolist()]
    (tmp_path / "shop.xlsx").write_bytes(workbook(Data=rows))
    found = added(tmp_path / "b", tmp_path / "shop.xlsx")
    assert (found.settings.source.kind, found.settings.target) == ("excel", "target")


def test_sheet_of_workbook_is_chosen_by_option(tmp_path: Path) -> None:
    rows = [list(table().columns), *table().astype(object).to_numpy().tolist()]
    (tmp_path / "shop.xlsx").write_bytes(workbook(Data=rows, Notes=[["a"], [1]]))
    with pytest.raises(AiWorkflowError, match="has several sheets"):
        added(tmp_path, tmp_path / "shop.xlsx")
    assert added(tmp_path, tmp_path / "shop.xlsx", sheet="Data").settings.source.sheet == "Data"
    with pytest.raises(AiWorkflowError, match=r"--sheet: .* is no workbook. Omit --sheet"):
        added(tmp_path / "b", csv(tmp_path, table()), sheet="Data")


def test_words_for_missing_values_and_ambiguous_dates_are_comments(tmp_path: Path) -> None:
    frame = table()
    frame["age"] = frame["age"].astype(object).mask(frame.index % 10 == 0, "unbekannt")
    frame["opened"] = [f"{number % 12 + 1:02d}/{number % 11 + 1:02d}/2024" for number in range(ROWS)]
    found = added(tmp_path, csv(tmp_path, frame))

    comments = " ".join(found.file.read_text().replace("\n#", " ").split())
    assert 'Add source: {missing: ["unbekannt"]}' in comments
    assert "in column 'opened' may have the day or the month first" in comments
    trained(tmp_path, loader.load(found.file).settings)


def test_numbers_without_header_need_a_target(tmp_path: Path) -> None:
    chance = random.Random(0)
    lines = [f"{chance.random():.3f};{chance.random():.3f};{chance.randint(0, 1)}" for _ in range(ROWS)]
    (tmp_path / "shop.csv").write_text("\n".join(lines))

    with pytest.raises(AiWorkflowError, match=r"Pass --target NAME; candidates: column_2 \(2 classes, it is the last"):
        added(tmp_path, tmp_path / "shop.csv")
    found = added(tmp_path, tmp_path / "shop.csv", target="column_2")
    source = yaml.safe_load(found.file.read_text())["source"]
    assert source == {"kind": "csv", "path": "../../shop.csv", "header": False, "delimiter": ";"}
    trained(tmp_path, loader.load(found.file).settings)


def test_commented_schema_is_valid_and_trains(tmp_path: Path) -> None:
    frame = table().rename(columns={"age": "on", "city": "a: b # c", "income": "x\u2028y ${HOME}"})
    found = added(tmp_path, csv(tmp_path, frame))

    lines = found.file.read_text().split("\n")
    start = lines.index("# schema:")
    end = next((number for number, line in enumerate(lines) if number > start and not line.startswith("#   ")), None)
    lines[start:end] = [line.removeprefix("# ") for line in lines[start:end]]
    found.file.write_text("\n".join(lines))
    settings = loader.load(found.file).settings
    assert list(settings.columns) == ["on", "a: b # c", "x\u2028y ${HOME}", "opened", "comment", "price"]
    trained(tmp_path, settings)


def test_name_of_file_with_pattern_characters_means_this_file(tmp_path: Path) -> None:
    file = csv(tmp_path, table(), "shop [1]*.csv")
    csv(tmp_path, table(1).drop(columns="age"), "shop 1x.csv")
    trained(tmp_path, added(tmp_path, file).settings)


def test_table_outside_of_project_has_absolute_path(tmp_path: Path) -> None:
    file = csv(tmp_path, table())
    found = added(tmp_path / "project", file)
    assert yaml.safe_load(found.file.read_text())["source"]["path"] == str(file)


# -- roles -----------------------------------------------------------------------------------------------------------


def test_unclear_target_is_refused_with_candidates_and_nothing_is_written(tmp_path: Path) -> None:
    frame = table().rename(columns={"target": "churn"})
    with pytest.raises(AiWorkflowError, match=r"Pass --target NAME; candidates: price \(number, .*\), churn \(2 "):
        added(tmp_path, csv(tmp_path, frame))
    assert not (tmp_path / "pipelines").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Default?", "it has the name of an outcome"),
        ("IsFraud", "it is the last column"),
        ("TARGET", "it has the name of a target"),
    ],
)
def test_only_candidate_is_the_target(tmp_path: Path, name: str, reason: str) -> None:
    frame = pd.DataFrame({"Loan ID": range(100), "amount": [0.5 * n for n in range(100)], name: ["a", "b"] * 50})
    found = added(tmp_path, csv(tmp_path, frame))
    assert (found.settings.target, found.settings.id) == (name, "Loan ID")
    assert reason in found.roles.target.reason


def test_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pipelines").write_text("")
    with pytest.raises(AiWorkflowError, match=r"pipelines/shop cannot be written: .*\. Correct .*/pipelines"):
        added(tmp_path, csv(tmp_path, table()))


def test_options_override_roles(tmp_path: Path) -> None:
    frame = table()
    frame["order"] = [f"O{number // 2}" for number in range(ROWS)]
    found = added(tmp_path, csv(tmp_path, frame), target="city", id_="order")

    assert (found.settings.target, found.settings.id) == ("city", "order")
    text = found.file.read_text()
    assert "id: order  # given by --id; 150 rows repeat one and are removed" in text
    assert "#   target: target  # 2 classes, it has the name of a target" in text
    assert "#   id: customer_id  # text, different in all 300 rows" in text


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"target": "nope"}, "--target: the table has no column 'nope'. It has customer_id, age, "),
        ({"target": "opened"}, "--target: column 'opened' is of type datetime. Choose"),
        ({"target": "comment"}, "--target: column 'comment' is of type text. Choose"),
        ({"target": "same"}, "--target: column 'same' is the same in all rows. Choose"),
        ({"target": "void"}, "--target: column 'void' has no value in any row. Choose"),
        ({"id_": "nope"}, "--id: the table has no column 'nope'. It has"),
        ({"id_": "target"}, "--id: column 'target' is the target. Choose"),
        ({"id_": "gaps"}, "--id: column 'gaps' has no value in 1 rows. Choose"),
    ],
)
def test_unsuitable_role_is_refused_with_reason(tmp_path: Path, options: dict[str, str], problem: str) -> None:
    frame = table()
    frame["same"], frame["void"], frame["gaps"] = 1, None, range(ROWS)
    frame["gaps"] = frame["gaps"].astype("Int64").mask(frame["gaps"] == 5)
    frame = frame[[*(name for name in frame if name != "target"), "target"]]
    with pytest.raises(AiWorkflowError) as refused:
        added(tmp_path, csv(tmp_path, frame), **options)
    assert str(refused.value).startswith(problem)
    assert not (tmp_path / "pipelines").exists()


# -- command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own: the current folder."""
    (tmp_path / "config").mkdir()
    for name in ("config/base.yaml", "prefect.yaml"):
        (tmp_path / name).write_bytes((INSTALLED_PROJECTS[0] / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    csv(tmp_path, table())
    return tmp_path


def test_command_adds_checked_pipeline_of_project(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.exit_code(["pipeline", "add", "shop", "--from", "shop.csv"]) == 0

    out = capsys.readouterr().out
    assert "configuration ok: pipeline shop, environment development" in out
    assert "pipelines/shop/pipeline.yaml" in out
    assert list(project_pipelines.load(project)) == ["shop"]
    assert [path.name for path in (project / "pipelines").iterdir()] == ["shop"]
    assert main.exit_code(["config", "check"]) == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["Shop", "--from", "shop.csv"], "'Shop' is not a name of a pipeline: 1 to 63 of a-z, 0-9 and _"),
        (["../shop", "--from", "shop.csv"], "'../shop' is not a name of a pipeline"),
        (["1shop", "--from", "shop.csv"], "'1shop' is not a name of a pipeline"),
        (["shop", "--from", "absent.csv"], "--from: absent.csv does not exist. Pass the file of a table"),
        (["shop", "--from", "config"], "--from: config is a folder. Pass the file of a table"),
        (["shop", "--from", "prefect.yaml"], "--from: prefect.yaml has an unknown ending. Rename it to one of .csv,"),
        (["shop", "--from", "empty.csv"], "empty.csv is empty"),
        (["shop", "--from", "blank.csv"], "blank.csv holds only blank lines"),
        (["shop", "--from", "header.csv"], "the source has no rows"),
        (["shop", "--from", "page.csv"], "page.csv is not delimited text: it looks like a web page"),
        (["shop", "--from", "broken.parquet"], "broken.parquet"),
        (["old", "--from", "shop.csv"], "pipelines/old exists. Choose another name, or remove the folder"),
    ],
)
def test_command_refuses_with_one_line_and_leaves_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    contents = {
        "empty.csv": "", "blank.csv": "\n\n", "header.csv": "a,target\n", "page.csv": "<!DOCTYPE html><p>login",
        "broken.parquet": "PAR1 and no more",
    }  # fmt: skip
    for name, text in contents.items():
        (project / name).write_text(text)
    (project / "pipelines" / "old").mkdir(parents=True)

    assert main.exit_code(["pipeline", "add", *arguments]) == 2

    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert problem in error
    assert len(error.splitlines()) == 1
    assert sorted(path.name for path in (project / "pipelines").iterdir()) == ["old"]


def test_invalid_configuration_of_project_leaves_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (project / "config/base.yaml").open("a") as file:
        file.write("unknown: 1\n")

    assert main.exit_code(["pipeline", "add", "shop", "--from", "shop.csv"]) == 2

    assert "unknown" in capsys.readouterr().err
    assert not (project / "pipelines").exists()
