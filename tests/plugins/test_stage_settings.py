"""Settings of added stages: names, places and paths, checked when the configuration is loaded."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from ai_workflow.config.problems import ConfigError
from ai_workflow.config.settings.stages import BUILT_IN, AddedStage
from ai_workflow.plugins import names
from tests.config_project import BASE, Project
from tests.flows.test_stage_keys import WORKS

pytestmark = pytest.mark.unit


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project")
    made.write("cleaning.py", "def tidy(rows): ...\ndef odd_é(rows): ...\ndef trainer(rows): ...\n")
    return made


def written(project: Project, stages: str) -> Path:
    return project.write("mine.yaml", f"{BASE}stages: {stages}\n")


def loaded(project: Project, stage: str) -> AddedStage:
    """Return the only stage of a pipeline file with this stage after the loader."""
    path = written(project, f"{{after: {{data_loader: [{stage}]}}}}")
    [added] = project.load(path).settings.stages.after.data_loader
    return added


def test_stages_are_texts_or_mappings_with_paths_relative_to_the_file(project: Project) -> None:
    added = loaded(project, "{kind: 'cleaning:tidy', params: {days: 3}, files: {bureau: data/bureau.csv}}")
    assert (added.name, added.params) == ("tidy", {"days": 3})
    assert added.files == {"bureau": str(project.root / "data/bureau.csv")}
    added = loaded(project, "'cleaning:tidy'")
    assert (added.kind, added.params, added.files) == ("cleaning:tidy", {}, {})


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ("{after: {data_loader: ['cleaning:tydi']}}", "mine.yaml:5: stages.after.data_loader.0: cleaning:tydi: "),
        ("{after: {data_loader: ['cleaning:tydi']}}", "cleaning.py does not define tydi; it defines odd_é, tidy"),
        ("{after: {data_loader: [{kind: 'absent:x'}]}}", "data_loader.0.kind: absent:x: there is no module absent in "),
        ("{after: {data_loader: [tidy]}}", "stages.after.data_loader.0: unknown name 'tidy'; known: none; own c"),
        ("{after: {data_loader: ['cleaning:odd_é']}}", "the name of a stage is 'odd_é'; it must be letters, digits"),
        ("{after: {data_loader: ['cleaning:trainer']}}", "trainer is the name of a built-in stage; give the function"),
        ("{after: {data_loader: ['cleaning:tidy', 'cleaning:tidy']}}", "has two stages named tidy"),
        ("{after: {data_loader: [{kind: 'cleaning:tidy', files: {a: b}, params: {a: 1}}]}}", "a is in params and in"),
        ("{after: {data_loader: 'cleaning:tidy'}}", "stages.after.data_loader: must be a list"),
        ("{after: {data_loader: [{kind: 'cleaning:tidy', path: x}]}}", "path: unknown key; known here: files, kind, p"),
        ("{after: {data_loader: [3]}}", "stages.after.data_loader.0: must be a mapping of keys"),
        ("{after: {preprocessor: ['cleaning:tidy']}}", "after.preprocessor: cannot be followed by a stage of own code"),
        ("{after: {loader: ['cleaning:tidy']}}", "stages.after.loader: unknown key; did you mean 'data_loader'?"),
        ("{preprocessor: 'cleaning:tidy'}", "mine.yaml:5: stages.preprocessor: cannot be replaced by own code: the s"),
        ("{preprocessor: 'cleaning:tidy'}", "Add a stage after the loader: stages: {after: {data_loader: [module:"),
        ("{before: {}}", "stages.before: unknown key"),
    ],
)  # fmt: skip
def test_wrong_stage_is_reported_at_load(project: Project, stages: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        project.load(written(project, stages))
    assert said in str(raised.value)


def test_entry_point_names_a_stage(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints([EntryPoint("tidy_rows", "cleaning:tidy", "ai_workflow.stages")])
    monkeypatch.setattr(names, "entry_points", lambda group: points.select(group=group))
    assert loaded(project, "tidy_rows").name == "tidy_rows"
    with pytest.raises(ConfigError, match="did you mean 'tidy_rows'"):
        loaded(project, "tidy_row")


def test_no_stage_of_the_package_can_be_the_name_of_an_added_one() -> None:
    assert set(BUILT_IN) == set(WORKS)
