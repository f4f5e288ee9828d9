"""The production configuration of the guide that this project follows: each key is used, or refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_workflow.config.loader import ConfigError, Loaded, load

GUIDE = """\
database:
  host: ${DB_HOST}
  port: 5432
  username: ${DB_USER}
  password: ${DB_PASSWORD}

model:
  path: /models/production/v2.3
  batch_size: 128
  timeout: 30

logging:
  level: INFO
  format: json
"""
VARIABLES = {"DB_HOST": "db.example.com", "DB_USER": "reader", "DB_PASSWORD": "correct-horse-battery-81"}
PROJECT = Path(__file__).parents[1]


@pytest.fixture
def guide(tmp_path: Path) -> Path:
    path = tmp_path / "guide.yaml"
    path.write_text(GUIDE)
    return path


def loaded(path: Path, variables: dict[str, str], *, as_pipeline: bool = False) -> Loaded:
    """Load it for production with no other variables, as the file of AIW_CONFIG or as a pipeline file."""
    named = {} if as_pipeline else {"AIW_CONFIG": str(path)}
    # A folder and a file of this machine would be layers of their own.
    nothing = {"AIW_OS_RELEASE": str(path.with_name("os-release")), "AIW_ETC": str(path.parent)}
    path.with_name("os-release").write_text("ID=none\n")
    pipeline = path if as_pipeline else None
    return load(pipeline, environment="production", root=PROJECT, env=variables | named | nothing)


@pytest.mark.parametrize("as_pipeline", [False, True])
def test_unset_variables_and_invalid_path_are_reported_together(guide: Path, as_pipeline: bool) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(guide, {}, as_pipeline=as_pipeline)
    said = [(problem.line, problem.key) for problem in caught.value.problems]
    assert said == [(2, "database.host"), (4, "database.username"), (5, "database.password"), (8, "model.path")]


@pytest.mark.parametrize("as_pipeline", [False, True])
def test_set_variables_leave_only_model_path_error_with_remedy(guide: Path, as_pipeline: bool) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(guide, VARIABLES, as_pipeline=as_pipeline)
    [problem] = caught.value.problems
    assert (problem.line, problem.key) == (8, "model.path")
    assert "must be a folder inside the store, such as models" in problem.message
    assert "Set store.root (AIW_STORE)" in problem.message


@pytest.mark.parametrize("as_pipeline", [False, True])
def test_path_inside_store_accepts_every_key(guide: Path, as_pipeline: bool) -> None:
    guide.write_text(GUIDE.replace("/models/production/v2.3", "models"))
    settings = loaded(guide, VARIABLES, as_pipeline=as_pipeline).settings
    database = settings.database
    assert (database.host, database.port, database.username) == ("db.example.com", 5432, "reader")
    assert database.password is not None
    assert VARIABLES["DB_PASSWORD"] not in repr(settings) + str(settings.model_dump(mode="json"))
    assert (settings.model.path, settings.model.batch_size, settings.model.timeout) == ("models", 128, 30)
    assert (settings.logging.level, settings.logging.format) == ("INFO", "json")
