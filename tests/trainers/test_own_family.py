"""A trainer of a team's own code: the protocol is checked at load and at each call, with one clear error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_workflow.config import settings
from ai_workflow.errors import StageError
from ai_workflow.plugins import search_path
from ai_workflow.stages import trainer
from ai_workflow.stages.trainer import TrainedModel
from ai_workflow.storage.store import Store
from ai_workflow.training import protocol
from tests.own_code import SGD, TeamFolder
from tests.stages.tables import Pipeline, load, parted, people
from tests.stages.tables import settings as pipeline_settings
from tests.trainers.training_rows import data

pytestmark = pytest.mark.integration
KIND = "team_models:Boost"
GOOD = """
    import numpy as np

    class Boost:
        library = "numpy"
        model_file = "model.npy"
        batch_size = None
        def start(self, data, options, batch_size=128): self._classes = len(data.spec["classes"] or ())
        def step(self): return True
        def loss(self): return 0.5
        def save(self): return b"state"
        def load(self, state): assert state == b"state"
        def finish(self, step): return bytes([self._classes])

    def load(model):
        return lambda x: np.full((len(x), model[0]), 1 / model[0])
"""


@pytest.fixture
def team(tmp_path: Path) -> Iterator[TeamFolder]:
    folder = TeamFolder(tmp_path)
    yield folder
    folder.forget()


def prepared(store: Store) -> Any:
    run = Pipeline(store, pipeline_settings())
    return run.fit(run.clean(load(store, *parted(people(), 2))))


def trained(store: Store) -> TrainedModel:
    return trainer.train(store, prepared(store), settings.Trainer(kind=KIND, steps=3))


def failure(team: TeamFolder, store: Store, before: str, after: str) -> str:
    text = GOOD.replace(before, after)
    assert text != GOOD
    team.write("team_models.py", text)
    with pytest.raises(StageError) as raised:
        trained(store)
    return str(raised.value)


def test_minimal_trainer_trains_and_predicts(team: TeamFolder, store: Store) -> None:
    team.write("team_models.py", GOOD)
    result = trained(store)
    assert (result["kind"], result["steps"]) == (KIND, 3)
    assert result["library"] == f"numpy {np.__version__}"
    predict = protocol.load(KIND, store.read(result["model"]["path"]))
    assert predict(np.zeros((3, 2), np.float32)).tolist() == [[0.5, 0.5]] * 3
    assert protocol.importance(KIND, b"\2", ["a", "b"]) == []


def test_example_of_the_docs_trains_unedited_from_the_folder_of_the_team(team: TeamFolder, store: Store) -> None:
    team.write("team_sgd.py", SGD.read_text())
    result = trainer.train(store, prepared(store), settings.Trainer(kind="team_sgd:Trainer", steps=20))
    assert result["message"].startswith("model trained, 20 steps")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("def step(self): return True", "", "it has no method step. See docs/own-code.md"),
        ("def step(self)", "def step(self, x)", "its method step does not take 0 arguments"),
        ("def start(self, data, options, batch_size=128)", "def start(self, data)", "start does not take 3 arguments"),
        ('library = "numpy"', "", "it has no attribute library with text"),
        ('"model.npy"', '"../card.md"', "its model_file '../card.md' is not a name that begins with model"),
        ("batch_size = None", "losses = 'huber'", "losses is str, not a list of kinds of trainer.loss"),
        ("def load(model)", "def read(model)", "its module has no function load(model)"),
        ("class Boost:", "def Boost(): pass\nclass Other:".replace("\n", "\n    "), "it is function, not a class"),
        (
            "class Boost:",
            "class Boost:\n        def __init__(self): raise KeyError('a')",
            "the constructor raised KeyErr",
        ),
        (
            "step(self): return True",
            "step(self): return 1 / 0",
            "step raised ZeroDivisionError: division by zero at {}:9",
        ),
        ("step(self): return True", "step(self): pass", "step returned None, not bool"),
        ("step(self): return True", "step(self): exit('done')", "step raised SystemExit: done at {}:9"),
        ("return 0.5", "return '0.5'", "loss returned str, not float"),
        ("return bytes([self._classes])", "return 'model'", "finish returned str, not bytes"),
        ("return lambda x: np", "return 5\n        lambda x: np", "load returned int, not a function"),
        ("(len(x), model[0])", "(1, model[0])", "the prediction for 16 rows: float64 of shape (1, 2). Return (n, cl"),
        ("(len(x), model[0])", "(len(x), 3)", "the prediction for 2 rows has the shape (2, 3), and (2, 2) is required"),
        ("1 / model[0])", "'a')", "the prediction for 16 rows: <U1 of shape (16, 2)"),
    ],
)
def test_code_that_breaks_the_protocol_is_refused(
    team: TeamFolder, store: Store, before: str, after: str, said: str
) -> None:
    found = failure(team, store, before, after)
    assert found.startswith(f"trainer.kind {KIND}")
    assert said.format(team.folder / "team_models.py") in found


@pytest.mark.parametrize(
    ("attribute", "options", "problem"),
    [
        ("uses_weights = True", {"class_weights": "balanced"}, "does not use the weights of rows"),
        ("losses = ['huber', 'absolute']", {"loss": "absolute"}, "does not minimize trainer.loss absolute"),
    ],
)
def test_weights_and_losses_need_an_attribute_of_the_trainer(
    team: TeamFolder, store: Store, attribute: str, options: dict[str, Any], problem: str
) -> None:
    featured, given = prepared(store), settings.Trainer.model_validate({"kind": KIND, "steps": 3, **options})
    path = team.write("team_models.py", GOOD)
    with pytest.raises(StageError, match=problem):
        trainer.train(store, featured, given)
    team.forget()
    search_path.use([path.parent])
    team.write("team_models.py", GOOD.replace("batch_size = None", f"batch_size = None; {attribute}"))
    assert trainer.train(store, featured, given)["steps"] == 3


def test_all_missing_parts_are_in_one_error(team: TeamFolder, store: Store) -> None:
    team.write("team_models.py", "class Boost: pass\n")
    with pytest.raises(StageError) as raised:
        protocol.check(KIND)
    for part in ("start", "step", "loss", "save", "load", "finish", "library", "model_file", "load(model)"):
        assert part in str(raised.value)


def test_prints_of_the_code_do_not_reach_the_predictions_of_its_process(team: TeamFolder, store: Store) -> None:
    from ai_workflow.inference.model_process import ModelProcess

    text = GOOD.replace("return lambda x:", "print('loaded')\n        return lambda x: print('called') or")
    team.write("team_models.py", "    print('imported')\n" + text)
    with ModelProcess("model_v1.0", KIND, b"\2", 60) as process:
        assert process.predict(np.zeros((2, 3), np.float32)).tolist() == [[0.5, 0.5]] * 2


def test_code_of_the_trainer_is_in_the_cache_key_of_the_training(team: TeamFolder) -> None:
    assert protocol.modules_of("lightgbm", "team_models:Boost") == ("ai_workflow.training.families.lightgbm",)
    team.write("team_models.py", GOOD)
    assert protocol.modules_of("team_models:Boost") == ("team_models",)
    assert protocol.check("team_models:Boost") == ("team_models",)
    assert protocol.rows_per_step("team_models:Boost", 32) == 32


def test_out_of_memory_in_a_step_halves_its_batch(team: TeamFolder) -> None:
    step = "def step(self):\n            if self.batch_size > 40: raise MemoryError('x')\n            return True"
    team.write("team_models.py", GOOD.replace("def step(self): return True", step))
    made = protocol.trainer(KIND)
    made.batch_size = 64
    made.start(data("binary"), settings.Trainer(kind=KIND), 64)
    with pytest.raises(MemoryError):
        made.step()
    made.batch_size = 32
    assert made.step() is True


@pytest.mark.parametrize("is_independent", [False, True])
def test_prediction_gets_16_rows_at_once_unless_rows_are_independent(team: TeamFolder, is_independent: bool) -> None:
    text = GOOD.replace("np.full((len(x), model[0]), 1 / model[0])", "np.full(len(x), float(len(x)))")
    team.write("team_models.py", text + ("    ROWS_ARE_INDEPENDENT = True\n" if is_independent else ""))
    predict = protocol.load(KIND, b"\2")
    for rows in (1, 16, 33):
        assert predict(np.zeros((rows, 3), np.float32)).tolist() == [rows if is_independent else 16] * rows
