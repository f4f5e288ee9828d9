"""Links below the description of a deployment."""

from __future__ import annotations

import pytest

from ai_workflow.local import server
from ai_workflow.provisioning.links import Links

CLOUD = "https://api.prefect.cloud/api/accounts/aa/workspaces/bb"


def test_training_description_links_to_traces_cards_and_dashboard() -> None:
    found = Links(grafana="https://grafana.example.com/").below("Train a model.", "training", "small_credit")
    assert found == (
        "Train a model.\n\n[traces of runs](/artifacts/key/small-credit-training-trace) · "
        "[model cards](/artifacts/key/small-credit-model-card) · "
        "[dashboard](https://grafana.example.com/d/ai-workflow-pipelines?var-pipeline=small_credit)"
    )


def test_flow_without_artifacts_or_grafana_has_no_links() -> None:
    assert Links().below("Remove versions.", "retention", "sample") == "Remove versions."


@pytest.mark.parametrize(
    ("api", "path"),
    [
        ("", ""),
        ("http://prefect:4200/api", ""),
        (CLOUD, "https://app.prefect.cloud/account/aa/workspace/bb"),
    ],
)
def test_prefect_cloud_links_contain_workspace(api: str, path: str) -> None:
    assert server.ui_path({"PREFECT_API_URL": api}) == path
