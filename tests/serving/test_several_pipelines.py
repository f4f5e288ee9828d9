"""One service of several pipelines: routes, readiness and metrics of each, and faults that cost the others nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ai_workflow.cli.main import exit_code
from ai_workflow.config import loader
from ai_workflow.local.run_report import Hints
from ai_workflow.local.stack import served_versions
from ai_workflow.plugins import search_path
from tests.doctor import planted
from tests.serving import published_models
from tests.serving.published_models import ROW, project
from tests.serving.running_service import CLI, Running

pytestmark = pytest.mark.integration
SEEDS = {"credit": 0, "sales": 1}
# It has no version, and no default response.
EMPTY = "parts"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("project")
    for name, seed in SEEDS.items():
        published_models.publish(folder / "var", seed, name=name)
    variables = project(folder, *SEEDS, EMPTY, silent=EMPTY, inference=published_models.PATIENT)
    with Running(None, folder / "var", None, CLI, **variables) as running:
        yield running


def score(response: httpx.Response) -> float:
    assert response.status_code == 200, response.text
    found: float = response.json()["predictions"][0]["score"]
    return found


@pytest.mark.parametrize("name", list(SEEDS))
def test_each_pipeline_answers_by_its_own_model(service: Running, name: str) -> None:
    [[_, positive]] = published_models.answers(SEEDS[name], [ROW])
    answer = service.http.post(f"/predict/{name}", json={"rows": [ROW]})
    assert published_models.is_close(score(answer), max(positive, 1 - positive))
    inputs = [{"name": key, "shape": [1], "datatype": _datatype(value), "data": [value]} for key, value in ROW.items()]
    tensors = service.http.post(f"/v2/models/{name}/infer", json={"inputs": inputs})
    assert tensors.json()["model_name"] == name
    assert service.http.get(f"/v2/models/{name}").json()["name"] == name
    assert service.http.get(f"/v2/models/{name}/versions/latest/ready").json()["ready"]


def _datatype(value: object) -> str:
    return {bool: "BOOL", int: "INT64", float: "FP64"}.get(type(value), "BYTES")


def test_labels_are_those_of_the_named_pipeline(service: Running) -> None:
    label = {"labels": [{"prediction_id": "x", "label": "yes"}]}
    for name in SEEDS:
        assert service.http.post(f"/labels/{name}", json=label).json() == {"accepted": 1}
    assert service.http.post("/labels/credits", json=label).status_code == 404


@pytest.mark.parametrize("path", ["/predict", "/labels", "/predict/credits", "/v2/models/credits/infer", "/nothing"])
def test_path_without_a_served_pipeline_lists_them(service: Running, path: str) -> None:
    response = service.http.post(path, json={"rows": [ROW]})
    assert response.status_code == 404
    assert "Served: credit, parts, sales, as in /predict/credit" in response.json()["error"]


def test_pipeline_without_a_version_leaves_the_service_ready(service: Running) -> None:
    response = service.http.get("/v2/health/ready")
    body = response.json()
    assert (response.status_code, body["ready"], body["state"]) == (200, True, "degraded")
    assert {name: each["state"] for name, each in body["pipelines"].items()} == {
        "credit": "ok", "parts": "degraded", "sales": "ok",
    }  # fmt: skip
    assert not service.http.get(f"/v2/models/{EMPTY}/ready").json()["ready"]
    assert service.http.post(f"/predict/{EMPTY}", json={"rows": [ROW]}).status_code == 503


def test_doctor_and_status_name_the_pipeline(service: Running, tmp_path: Path) -> None:
    [finding] = planted.findings("inference service", planted.examined(tmp_path, service=str(service.http.base_url)))
    assert finding.what.startswith("pipeline parts: no request is answered: ")
    settings = loader.load(None, overrides={"store.root": str(tmp_path)}).settings
    line = served_versions.line(settings, service.port, Hints())
    assert line == "credit model_v1.0; parts none: requests are answered with 503; sales model_v1.0"


def test_log_lines_name_the_pipeline(service: Running) -> None:
    loaded = [line for line in service.log if "model_v1.0 is loaded" in line]
    assert sorted(line.rpartition("pipeline=")[2].strip() for line in loaded) == sorted(SEEDS)


def test_metrics_are_counted_per_pipeline(service: Running) -> None:
    def count(name: str) -> float:
        return service.metrics()[f'inference_requests_total{{pipeline="{name}",status="success"}}']

    before = {name: count(name) for name in SEEDS}
    service.http.post("/predict/sales", json={"rows": [ROW]})
    assert {name: count(name) - before[name] for name in SEEDS} == {"credit": 0, "sales": 1}
    assert service.metrics()["inference_capacity_requests"] == 3 * 256


def test_openapi_document_has_all_pipelines(service: Running) -> None:
    response = service.http.get("/openapi.json")
    document = response.json()
    assert {"/predict/credit", "/predict/sales", "/v2/models/parts/infer", "/labels/sales"} <= set(document["paths"])
    assert not {"/predict", "/labels"} & set(document["paths"])
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', response.text))
    assert references <= set(document["components"]["schemas"])
    operations = re.findall(r'"operationId":"([^"]+)"', response.text)
    assert len(operations) == len(set(operations))


def test_common_routes_are_answered_once(service: Running) -> None:
    assert service.http.get("/v2/health/live").json() == {"live": True}
    assert service.http.get("/v2").json()["name"] == "ai-workflow"
    assert service.http.post("/admin/reload").status_code == 404


def test_service_of_one_pipeline_answers_by_name_as_well(tmp_path: Path) -> None:
    published_models.publish(tmp_path / "store", 0)
    pipeline = published_models.pipeline(tmp_path, inference=published_models.PATIENT)
    with Running(pipeline, tmp_path / "store") as running:
        answers = [running.http.post(path, json={"rows": [ROW]}) for path in ("/predict", "/predict/shop")]
        assert score(answers[0]) == score(answers[1])
        assert running.http.post("/predict/other", json={"rows": [ROW]}).status_code == 404
        assert "pipeline=" not in "".join(running.log)


def test_tokens_protect_every_route_of_every_pipeline(tmp_path: Path) -> None:
    published_models.publish(tmp_path / "var", 0, name="credit")
    published_models.publish(tmp_path / "var", 0, name="sales")
    service = {"token": "t0ken-of-clients", "admin_token": "t0ken-of-admins"}
    variables = project(tmp_path, "credit", "sales", service=service, inference=published_models.PATIENT)
    with Running(None, tmp_path / "var", None, CLI, **variables) as running:
        for path in ("/predict/credit", "/predict/sales", "/predict/nothing", "/v2/models/sales/infer"):
            assert running.http.post(path, json={"rows": [ROW]}).status_code == 401, path
        for path in ("/metrics", "/openapi.json", "/v2/models/credit", "/nothing"):
            assert running.http.get(path).status_code == 401, path
        assert running.http.post("/admin/reload").status_code == 401
        administrator = {"authorization": "Bearer t0ken-of-admins"}
        body = running.http.post("/admin/reload", headers=administrator).json()
        assert body == {name: {"serving": ["model_v1.0"], "absent": None} for name in ("credit", "sales")}
        client = {"authorization": "Bearer t0ken-of-clients"}
        assert running.http.post("/predict/sales", json={"rows": [ROW]}, headers=client).status_code == 200


@pytest.mark.slow
def test_hanging_model_of_one_pipeline_costs_the_others_no_answer(tmp_path: Path) -> None:
    faults = tmp_path / "faults"
    faults.mkdir()
    for seed in (0, 1):
        published_models.publish(tmp_path / "var", seed, name="credit")
    published_models.publish(tmp_path / "var", 2, name="sales")
    variables = project(tmp_path, "credit", "sales", inference=published_models.PATIENT)
    with Running(None, tmp_path / "var", faults, CLI, **variables) as running:
        # Only `credit` has a version of this name.
        (faults / "model_v1.1").write_text("hang")
        statuses = asyncio.run(_load(running.port))
    assert {answer["version"] for answer in statuses["sales"]} == {"model_v1.0"}
    assert not any(answer["fallback"] for answer in statuses["sales"])
    assert all(answer["fallback"] for answer in statuses["credit"])


async def _load(port: int) -> dict[str, list[dict[str, Any]]]:
    """Send requests to both pipelines at the same time, and return the answers."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:

        async def send(name: str, number: int) -> dict[str, Any]:
            await asyncio.sleep(number / 50)
            response = await client.post(f"/predict/{name}", json={"rows": [ROW]})
            assert response.status_code == 200, response.text
            body = response.json()
            return {"version": body["model_version"], "fallback": body["fallback"]}

        answers = await asyncio.gather(*(send(name, number) for number in range(100) for name in SEEDS))
    return {name: answers[index :: len(SEEDS)] for index, name in enumerate(SEEDS)}


@pytest.mark.parametrize(
    ("arguments", "setting", "problem"),
    [
        (["--all", "--pipeline", "credit"], [], "--all and --pipeline exclude each other"),
        ([], ["credits"], "there is no pipeline credits; there are: credit"),
    ],
)
def test_unknown_choice_of_pipelines_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], setting: list[str], problem: str,
) -> None:  # fmt: skip
    for name, value in project(tmp_path, "credit", service={"pipelines": setting}).items():
        monkeypatch.setenv(name, value)
    assert exit_code(["serve", *arguments]) == 2
    assert problem in capsys.readouterr().err


def test_process_of_a_model_finds_the_code_of_its_pipeline_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(search_path.VARIABLE, "/common")
    search_path.use([Path("/of/the/last/pipeline")])
    assert search_path.environment(["/of/credit"])[search_path.VARIABLE] == "/of/credit:/common"
    assert search_path.environment()[search_path.VARIABLE] == "/of/the/last/pipeline:/common"
    search_path.use([])
