"""Clients that others wrote get what they expect: Triton's, MLServer's, and Schemathesis by the OpenAPI document."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving import conformance, published_models
from tests.serving.conformance import asked
from tests.serving.running_service import Running, of_two_versions

pytestmark = pytest.mark.slow

STABLE, LATEST = "model_v1.0", "model_v1.1"
TRITON, MLSERVER = "triton_client.py", "mlserver_client.py"
OUTPUTS = ["prediction", "score", "probabilities"]
WAYS = [(given, wanted) for given in ("json", "binary") for wanted in ("none", "json", "binary")]
TRACE = "0af7651916cd43dd8448eb211c80319c"
KINDS = {"price": "FP64", "weight": "FP64", "pieces": "INT64", "colour": "BYTES", "gift": "BOOL", "ordered": "BYTES"}
ROWS = [{**row, "weight": row["weight"] or 1.5} for row in published_models.rows(5, 3)]
TOKEN = "for-callers-only"
# On a busy machine, too, the latest version answers: what a fallback says is not asked here.
MODEL = f"/v2/models/{published_models.PIPELINE}"
POSTS = {"POST /predict", f"POST {MODEL}/infer", f"POST {MODEL}/versions/{{version}}/infer"}


def features(rows: list[dict[str, Any]] = ROWS, datatype: str = "float64") -> dict[str, Any]:
    return {
        "features": published_models.matrix(rows).astype("float64").tolist(),
        "datatype": datatype,
        "outputs": OUTPUTS,
    }


def columns(rows: list[dict[str, Any]] = ROWS) -> dict[str, Any]:
    return {name: [kind, [row[name] for row in rows]] for name, kind in KINDS.items()}


def is_answer(found: dict[str, Any], seed: int = 1, rows: list[dict[str, Any]] = ROWS) -> bool:
    """Say whether outputs are what the model of a seed answers to rows."""
    known = published_models.answers(seed, rows)
    flat = [value for row in found["probabilities"] for value in (row if isinstance(row, list) else [row])]
    return (
        found["prediction"] == [published_models.CLASSES[row.index(max(row))] for row in known]
        and found["score"] == pytest.approx([max(row) for row in known], rel=1e-9)
        and flat == pytest.approx([value for row in known for value in row], rel=1e-9)
    )


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service of two versions of a classification."""
    with of_two_versions(tmp_path_factory.mktemp("classifier"), inference=published_models.PATIENT) as running:
        yield running


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service of a regression."""
    folder = tmp_path_factory.mktemp("regression")
    conformance.publish_regression(folder / "store")
    pipeline = published_models.pipeline(
        folder, task="regression", target="spent", inference={**published_models.PATIENT, "default_response": None}
    )
    with Running(pipeline, folder / "store") as running:
        yield running


class TestTriton:
    """`tritonclient.http`."""

    def test_health_endpoints_report_server_and_model_state(self, classifier: Running) -> None:
        assert asked(TRITON, classifier, "health", version=STABLE) == {
            "live": True, "ready": True, "model": True, "version": True, "unknown version": False,
            "unknown model": False,
        }  # fmt: skip

    def test_metadata_describes_server_and_model(self, classifier: Running) -> None:
        found = asked(TRITON, classifier, "metadata", version=STABLE)
        assert found["server"]["extensions"] == ["binary_tensor_data"]
        assert {each["name"]: each["datatype"] for each in found["model"]["inputs"]} == KINDS
        assert [each["name"] for each in found["model"]["outputs"]] == OUTPUTS
        assert found["model"]["versions"] == [LATEST, STABLE]
        assert found["version"]["parameters"]["version"] == STABLE

    @pytest.mark.parametrize("datatype", ["float32", "float64"])
    def test_json_and_binary_inference_give_equal_predictions(self, datatype: str, classifier: Running) -> None:
        found = asked(TRITON, classifier, "infer", **features(datatype=datatype))
        assert [(each["input"], each["outputs"]) for each in found] == WAYS
        for each in found:
            assert is_answer(each)
            assert each["binary"] == ([] if each["outputs"] == "json" else sorted(OUTPUTS))

    def test_typed_columns_give_equal_predictions(self, classifier: Running) -> None:
        found = asked(TRITON, classifier, "infer", columns=columns(), outputs=OUTPUTS)
        assert [(each["input"], each["outputs"]) for each in found] == WAYS
        assert all(is_answer(each) for each in found)

    def test_only_requested_outputs_are_returned(self, classifier: Running) -> None:
        found = asked(TRITON, classifier, "infer", **{**features(), "outputs": ["score"]})
        named = [[output["name"] for output in each["body"]["outputs"]] for each in found]
        assert named == [OUTPUTS if wanted == "none" else ["score"] for _, wanted in WAYS]

    def test_nan_is_accepted_as_missing_number(self, classifier: Running) -> None:
        rows = [{**ROWS[0], "weight": math.nan}]
        found = asked(TRITON, classifier, "options", columns=columns(rows), outputs=OUTPUTS)
        assert is_answer(found, rows=[{**ROWS[0], "weight": None}])

    def test_requested_model_version_serves_inference(self, classifier: Running) -> None:
        for version, seed in ((STABLE, 0), (LATEST, 1)):
            found = asked(TRITON, classifier, "options", **features(), options={"model_version": version})
            assert is_answer(found, seed)
            assert found["body"]["model_version"] == version

    def test_response_contains_request_id_and_trace_id(self, classifier: Running) -> None:
        headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        found = asked(TRITON, classifier, "options", **features(), options={"request_id": "mine", "headers": headers})
        assert found["body"]["id"] == "mine"
        assert found["body"]["parameters"]["trace_id"] == TRACE

    def test_client_error_contains_service_message(self, classifier: Running) -> None:
        requests = [
            {**features(), "features": [[1, 2]]},
            {**features(), "options": {"model_version": "model_v9.9"}},
            {**features(), "model": "other"},
            {"columns": columns([{**ROWS[0], "pieces": 101}]), "outputs": OUTPUTS},
            {"columns": {"price": ["FP64", [1.5]]}, "outputs": OUTPUTS},
            {**features(), "options": {"request_compression_algorithm": "gzip"}},
        ]
        assert asked(TRITON, classifier, "refused", requests=requests) == [
            {"status": "400", "message": f"{LATEST} takes 8 features, and a row here has 2"},
            {"status": "404", "message": f"version 'model_v9.9' is not served. Served versions: {LATEST}, {STABLE}"},
            {"status": "404", "message": "model 'other' is not served. Served model: 'shop'"},
            {"status": "400", "message": "rows[0].pieces is above the maximum 100: 101"},
            {"status": "400",
             "message": "rows[0] has no 'weight', which the model needs; send null where there is no value"},
            {"status": "415", "message": "Content-Encoding 'gzip' is not supported. Send the body without it"},
        ]  # fmt: skip

    def test_concurrent_requests_are_all_answered(self, classifier: Running) -> None:
        found = asked(TRITON, classifier, "many", **features(), times=50)
        assert len(found) == 50
        assert all(is_answer(each) for each in found)

    def test_regression_returns_numeric_predictions(self, regression: Running) -> None:
        rows = conformance.rows(4, 5)
        kinds = {"price": "FP64", "pieces": "INT64", "gift": "BOOL"}
        sent = {name: [kinds.get(name, "BYTES"), [row[name] for row in rows]] for name in conformance.COLUMNS}
        outputs = ["prediction", "score"]
        for each in asked(TRITON, regression, "infer", columns=sent, outputs=outputs):
            assert each["prediction"] == each["score"] == pytest.approx(conformance.answers(rows), rel=1e-9)

    def test_null_default_prediction_is_returned_as_nan(self, tmp_path: Path) -> None:
        default = {"default_response": {"prediction": None}}
        pipeline = published_models.pipeline(tmp_path, task="regression", target="spent", inference=default)
        with Running(pipeline, tmp_path / "store") as running:
            asking: dict[str, Any] = {"columns": {"price": ["FP64", [1.5]]}, "outputs": ["prediction", "score"]}
            found = asked(TRITON, running, "infer", **asking)
            assert running.predict({"price": 1.5})["predictions"][0]["prediction"] is None
        assert [each["body"]["model_version"] for each in found] == ["default"] * len(WAYS)
        assert all(math.isnan(value) for each in found for name in asking["outputs"] for value in each[name])


class TestMLServer:
    """The types and codecs of `mlserver`, and its command line."""

    def test_metadata_describes_server_and_model(self, classifier: Running) -> None:
        found = asked(MLSERVER, classifier, "metadata")
        assert found["server"]["name"] == "ai-workflow"
        assert {each["name"]: each["datatype"] for each in found["model"]["inputs"]} == KINDS

    def test_dataframe_inference_returns_dataframe(self, classifier: Running) -> None:
        rows = [{**ROWS[0], "weight": None}, *ROWS[1:]]
        found = asked(MLSERVER, classifier, "frame", rows=rows, outputs=["prediction", "score"])
        assert found["sent"] == KINDS
        for told, known in zip(found["rows"], published_models.answers(1, rows), strict=True):
            assert told == {
                "prediction": published_models.CLASSES[known.index(max(known))],
                "score": pytest.approx(max(known), rel=1e-9),
            }  # fmt: skip

    def test_columns_of_shape_n_by_1_are_accepted(self, classifier: Running) -> None:
        assert is_answer(asked(MLSERVER, classifier, "columns", columns=columns()))

    @pytest.mark.parametrize("datatype", ["float32", "float64"])
    def test_feature_matrix_is_accepted(self, datatype: str, classifier: Running) -> None:
        assert is_answer(asked(MLSERVER, classifier, "features", **features(datatype=datatype)))

    def test_client_error_contains_status_and_message(self, classifier: Running) -> None:
        found = asked(MLSERVER, classifier, "refused", **{**features(), "features": [[1, 2]]})
        assert found == {"status": 400, "error": f"{LATEST} takes 8 features, and a row here has 2"}

    @pytest.mark.parametrize("form", [[], ["--binary-data"]], ids=["json", "binary"])
    def test_cli_batch_inference_returns_all_predictions(
        self, form: list[str], classifier: Running, tmp_path: Path
    ) -> None:
        kinds = columns().items()
        requests = [
            [{"name": name, "datatype": kind, "shape": [1], "data": [values[row]]} for name, (kind, values) in kinds]
            for row in range(len(ROWS))
        ]
        sent, received = tmp_path / "sent.jsonl", tmp_path / "received.jsonl"
        sent.write_text("".join(json.dumps({"inputs": each}) + "\n" for each in requests))
        command = ["infer", "--url", f"127.0.0.1:{classifier.port}", "--model-name", published_models.PIPELINE,
                   "--batch-size", "2",
                   "--retries", "1", "--input-data-path", sent, "--output-data-path", received, *form]  # fmt: skip
        done = conformance.run([conformance.program("mlserver"), *command], folder=tmp_path)
        assert done.returncode == 0, done.stderr
        found = sorted(map(json.loads, received.read_text().splitlines()), key=_place)
        together: dict[str, Any] = {name: [] for name in OUTPUTS}
        for each in found:
            for output in each["outputs"]:
                together[output["name"]] += output["data"]
        assert is_answer(together)


def _place(found: dict[str, Any]) -> int:
    place: int = found["parameters"]["batch_index"]
    return place


@pytest.mark.slow
class TestSchemathesis:
    """Requests made up from `GET /openapi.json`, and answers checked by it."""

    def test_service_with_token_conforms_to_openapi(self, tmp_path: Path) -> None:
        published_models.publish(tmp_path / "store", 0)
        published_models.publish(tmp_path / "store", 1)
        pipeline = published_models.pipeline(tmp_path, service={"token": "${secret:shop-token}"})
        with Running(pipeline, tmp_path / "store", SHOP_TOKEN=TOKEN) as running:
            # Without a token of its own `POST /labels` is closed.
            found = _nothing_wrong(running, tmp_path, "--header", f"Authorization: Bearer {TOKEN}", operations=11)
            assert _taken(found, "examples") == _taken(found, "coverage") == POSTS

    def test_regression_service_conforms_to_openapi(self, regression: Running, tmp_path: Path) -> None:
        found = _nothing_wrong(regression, tmp_path)
        assert _taken(found, "examples") == _taken(found, "coverage") == POSTS

    def test_service_without_version_or_default_conforms_to_openapi(self, tmp_path: Path) -> None:
        inference = {"default_response": None}
        with Running(published_models.pipeline(tmp_path, inference=inference), tmp_path / "store") as running:
            found = _nothing_wrong(running, tmp_path, expected='["2xx", "4xx", 503]')
            assert _taken(found, "coverage") == set()


def _nothing_wrong(
    running: Running, folder: Path, *options: str, expected: str | None = None, operations: int = 12
) -> dict[str, Any]:
    """Have a service's document checked, and return Schemathesis's report; a failed check fails the test."""
    config = (conformance.SCRIPTS / "schemathesis.toml").read_text()
    if expected is not None:
        config += f"[checks.not_a_server_error]\nexpected-statuses = {expected}\n"
    (folder / "schemathesis.toml").write_text(config)
    report, document = folder / "report.json", f"http://127.0.0.1:{running.port}/openapi.json"
    command = [conformance.program("st"), "run", document, "--report-json-path", report, *options]
    done = conformance.run(command, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(report.read_text())
    assert found["operations"]["tested"] == found["operations"]["total"] == operations
    return found


def _taken(report: dict[str, Any], phase: str) -> set[str]:
    """Return the routes of inference that took a request which the document calls valid."""
    rates = report["valid_rates"].items()
    return {name for name, phases in rates if name in POSTS and phases.get(phase, {}).get("accepted")}


def test_openapi_examples_are_accepted_unchanged(classifier: Running, regression: Running) -> None:
    for running in (classifier, regression):
        paths = running.http.get("/openapi.json").json()["paths"]
        sent = 0
        for path in (path for path, operations in paths.items() if "post" in operations):
            examples = paths[path]["post"]["requestBody"]["content"]["application/json"]["examples"]
            for example in examples.values():
                response = running.http.post(path.format(version="stable"), json=example["value"])
                assert response.status_code == 200, response.text
                assert response.headers["content-type"] in paths[path]["post"]["responses"]["200"]["content"]
                sent += 1
        assert sent == 6
