"""Which names of flow runs are replaced by `<flow> <pipeline> <trace>`."""

from __future__ import annotations

import pytest
from prefect.utilities.names import generate_slug

from ai_workflow.orchestration.run_identity import is_invented

pytestmark = pytest.mark.unit


def test_names_invented_by_the_api_are_replaced() -> None:
    assert all(is_invented(generate_slug(2)) for _ in range(500))


# The UI's animals have up to six letters; one of 304 has a letter beyond ASCII.
@pytest.mark.parametrize("name", ["Rustic-Vicuña", "Gorgeous-Ant", "Handcrafted-Walrus"])
def test_names_invented_by_the_ui_are_replaced(name: str) -> None:
    assert is_invented(name)


@pytest.mark.parametrize(
    "name", ["", "retry", "Retry of Monday", "retry-2", "Vicuña", "retrain credit", "rustic-Vicuña-3"]
)
def test_names_of_a_person_stay(name: str) -> None:
    assert not is_invented(name)
