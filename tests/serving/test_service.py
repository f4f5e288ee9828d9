"""What callers get: answers with the version's name and a trace, errors that say what is wrong; no token, nothing."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import ending_commands
from tests.serving import published_models
from tests.serving.running_service import ROOT, Running, children, dumps, lives
from tests.serving.traffic import Traffic

LATEST, STABLE = "model_v1.1", "model_v1.0"
TRACE = "0af7651916cd43dd8448eb211c80319c"
INFER = f"/v2/models/{published_models.PIPELINE}/infer"


def features(rows: list[dict[str, Any]]) -> dict[str, Any]:
    data = published_models.matrix(rows).astype(float)
    flat = [None if math.isnan(value) else value for value in data.ravel().tolist()]
    return {"inputs": [{"name": "features", "datatype": "FP64", "shape": list(data.shape), "data": flat}]}


@pytest.mark.integration
def test_predict_returns_model_predictions_for_named_rows(shared: Running) -> None:
    rows = published_models.rows(50, 5)
    found = shared.predict(*rows, traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    for told, known in zip(found["predictions"], published_models.answers(1, rows), strict=True):
        assert told["prediction"] == published_models.CLASSES[known.index(max(known))]
        assert published_models.is_close(told["score"], max(known))
    assert len({told["prediction_id"] for told in found["predictions"]}) == 50
    assert (found["model_version"], found["fallback"], found["fallback_reason"]) == (LATEST, False, None)
    assert found["trace_id"] == TRACE


@pytest.mark.integration
def test_missing_or_invalid_traceparent_gets_new_trace_id(shared: Running) -> None:
    ids = {
        shared.predict(published_models.ROW)["trace_id"],
        shared.predict(published_models.ROW, traceparent="00-zz-1-01")["trace_id"],
        shared.predict(published_models.ROW, traceparent=f"00-{'0' * 32}-b7ad6b7169203331-01")["trace_id"],
    }
    assert len(ids) == 3
    assert all(len(each) == 32 and int(each, 16) for each in ids)


@pytest.mark.integration
def test_infer_features_and_columns_give_equal_predictions(shared: Running) -> None:
    rows = [{**row, "weight": 1.0} for row in published_models.rows(3, 6)]
    kinds = {
        "price": "FP64",
        "weight": "FP32",
        "pieces": "INT64",
        "colour": "BYTES",
        "gift": "BOOL",
        "ordered": "BYTES",
    }
    columns = [
        {"name": name, "datatype": kind, "shape": [3], "data": [row[name] for row in rows]}
        for name, kind in kinds.items()
    ]
    by_columns = shared.http.post(INFER, json={"id": "mine", "inputs": columns}).json()
    by_features = shared.http.post(INFER, json=features(rows)).json()
    assert by_columns["outputs"] == by_features["outputs"]
    assert by_columns["id"] == "mine"
    outputs = {output["name"]: output for output in by_columns["outputs"]}
    known = published_models.answers(1, rows)
    assert outputs["prediction"]["data"] == [published_models.CLASSES[each.index(max(each))] for each in known]
    assert outputs["probabilities"]["shape"] == [3, 2]
    assert outputs["probabilities"]["data"] == pytest.approx([value for each in known for value in each], rel=1e-9)
    assert by_columns["parameters"]["fallback"] is False


@pytest.mark.integration
def test_pinned_version_serves_request(shared: Running) -> None:
    for name, version in ((STABLE, STABLE), ("stable", STABLE), ("latest", LATEST)):
        path = f"/v2/models/{published_models.PIPELINE}/versions/{name}/infer"
        assert shared.http.post(path, json=features([published_models.ROW])).json()["model_version"] == version


@pytest.mark.integration
@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/predict", b"{", 400, "the body is not JSON"),
        ("/predict", b"[]", 400, "the body must be"),
        ("/predict", b'{"rows": []}', 400, "at least one row"),
        ("/predict", b'{"rows": [1]}', 400, "rows[0] is not a mapping"),
        ("/predict", dumps([{**published_models.ROW, "price": -5}]), 400, "rows[0].price is below the minimum 0"),
        ("/predict", dumps([{}]), 400, "rows[0] has no 'price'"),
        ("/predict", dumps([published_models.ROW] * 1001), 400, "1001 rows are more than 1000"),
        ("/predict", b"[" * 100_000, 400, "the body is not JSON"),
        (INFER, b"{}", 400, "`inputs`"),
        (INFER, json.dumps({"inputs": [{"name": "features", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}]}),
         400, "model_v1.1 takes 8 features, and a row here has 2"),
        (INFER, json.dumps({**features([published_models.ROW]), "outputs": [{"name": "x"}]}),
         400, "there is no output 'x'"),
        (f"/v2/models/{published_models.PIPELINE}/versions/model_v7.0/infer", b"{}",
         404, "version 'model_v7.0' is not served"),
        ("/v2/models/other/infer", b"{}", 404, "model 'other' is not served"),
        ("/nowhere", b"{}", 404, "Not Found"),
    ],
)  # fmt: skip
def test_invalid_request_is_rejected_before_inference(
    path: str, body: bytes, status: int, said: str, shared: Running
) -> None:
    before = attempts(shared)
    response = shared.http.post(path, content=body)
    assert response.status_code == status
    assert said in response.json()["error"]
    assert attempts(shared) == before
    assert shared.ready()["state"] == "ok"


def attempts(running: Running) -> dict[str, float]:
    names = ("inference_refused_total", "inference_total", "inference_requests_total")
    return {name: value for name, value in running.metrics().items() if name.startswith(names) and value}


SHOP = f'pipeline="{published_models.PIPELINE}"'


def of(version: str) -> str:
    """Return the labels of a version, in the order in which they are written."""
    return f'model_version="{version}",{SHOP}'


def example(kind: str, version: str, trace_id: str) -> str:
    """Return the labels of a request that is shown by its trace."""
    return f'column="",kind="{kind}",{of(version)},trace_id="{trace_id}"'


def examples(running: Running) -> set[str]:
    """Return the labels of the requests that are shown by their trace."""
    name = "inference_example_info{"
    return {found.removeprefix(name).rstrip("}") for found in running.metrics() if found.startswith(name)}


@pytest.mark.integration
def test_wrong_http_method_returns_405(shared: Running) -> None:
    for method, path in (("GET", "/predict"), ("GET", INFER), ("POST", "/v2/health/live"), ("DELETE", "/metrics")):
        response = shared.http.request(method, path)
        assert response.status_code == 405
        assert response.json()["error"]


@pytest.mark.integration
def test_metrics_count_requests_by_status_and_version(shared: Running) -> None:
    def counts() -> dict[str, float]:
        found = shared.metrics()
        return {
            "requests": found[f'inference_requests_total{{{SHOP},status="success"}}'],
            "request seconds": found[f"inference_request_latency_seconds_count{{{SHOP}}}"],
            "rows": found[f"inference_rows_total{{{of(LATEST)}}}"],
            "answers": found[f'inference_total{{{of(LATEST)},status="success"}}'],
            "seconds": found[f"inference_latency_seconds_count{{{of(LATEST)}}}"],
        }

    shared.predict(published_models.ROW)
    before = counts()
    shared.predict(*published_models.rows(3))
    assert {name: value - before[name] for name, value in counts().items()} == {
        "requests": 1, "request seconds": 1, "rows": 3, "answers": 1, "seconds": 1,
    }  # fmt: skip
    metrics = shared.metrics()
    assert metrics[f'model_info{{alias="latest",{of(LATEST)}}}'] == 1
    assert metrics["inference_capacity_requests"] == 256


@pytest.mark.integration
def test_openmetrics_latency_has_trace_exemplar(shared: Running) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"

    def openmetrics() -> str:
        shared.predict(published_models.ROW, traceparent=f"00-{trace_id}-00f067aa0ba902b7-01")
        response = shared.http.get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"})
        assert response.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        return response.text

    shared.until(lambda: f'# {{trace_id="{trace_id}"}}' in openmetrics())
    assert openmetrics().endswith("# EOF\n")
    plain = shared.http.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert trace_id not in plain.text
    assert "_created" not in plain.text + openmetrics()


@pytest.mark.integration
def test_error_counters_are_exported_as_zero_at_start(shared: Running) -> None:
    metrics = shared.metrics()
    for version in (LATEST, STABLE):
        for status in ("success", "fallback", "timeout", "error", "rejected"):
            assert f'inference_total{{{of(version)},status="{status}"}}' in metrics
        for reason in ("timeout", "hung", "not_loaded"):
            assert f'inference_fallback_total{{{of(version)},reason="{reason}"}}' in metrics
        assert f'inference_refused_total{{{of(version)},reason="crashed"}}' in metrics
        assert f'model_worker_restarts_total{{{of(version)},reason="hung"}}' in metrics
        assert f"model_breaker_state{{{of(version)}}}" in metrics
    for status in ("success", "fallback", "default", "error", "timeout", "rejected"):
        assert f'inference_requests_total{{{SHOP},status="{status}"}}' in metrics
    assert metrics[f'inference_total{{{of("default")},status="fallback"}}'] == 0


@pytest.mark.integration
def test_versioned_metrics_have_pipeline_label(shared: Running) -> None:
    versioned = [name for name in shared.metrics() if "model_version=" in name]
    assert len(versioned) > 50
    assert all(SHOP in name for name in versioned)
    assert not any('model_version="none"' in name for name in versioned)


@pytest.mark.integration
def test_readiness_lists_serving_version_and_states(shared: Running) -> None:
    found = shared.ready()
    assert found == {
        "ready": True, "state": "ok", "serving": LATEST, "versions": {LATEST: "ok", STABLE: "ok"}, "absent": None,
    }  # fmt: skip
    assert shared.http.get("/v2/health/live").json() == {"live": True}


@pytest.mark.integration
def test_default_response_is_used_until_first_version_is_published(tmp_path: Path) -> None:
    with Running(published_models.pipeline(tmp_path), tmp_path / "store") as running:
        found = running.predict({"anything": 1})
        assert found["predictions"][0]["prediction"] == "unknown"
        assert (found["model_version"], found["fallback"]) == ("default", True)
        assert found["fallback_reason"] == "no version is published"
        assert running.ready() | {"versions": {}} == {
            "ready": True, "state": "degraded", "serving": "default", "versions": {},
            "absent": "no version is published",
        }  # fmt: skip
        published_models.publish(tmp_path / "store", 0)
        running.until(lambda: running.predict(published_models.ROW)["model_version"] == STABLE)


@pytest.mark.integration
def test_service_without_version_or_default_returns_503(tmp_path: Path) -> None:
    pipeline = published_models.pipeline(tmp_path, inference={"default_response": None})
    with Running(pipeline, tmp_path / "store") as running:
        response = running.http.post("/predict", content=dumps([published_models.ROW]))
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert "no version is published" in response.json()["error"]
        assert running.http.get("/v2/health/ready").status_code == 503
        assert running.http.get("/v2/health/live").status_code == 200


class TestTokens:
    """One for callers, another one for administration."""

    @pytest.fixture(scope="class")
    @classmethod
    def guarded(cls, tmp_path_factory: pytest.TempPathFactory) -> Any:
        folder = tmp_path_factory.mktemp("guarded")
        service = {"token": "${secret:shop-token}", "admin_token": "${secret:shop-admin}", "host": "0.0.0.0"}  # noqa: S104
        published_models.publish(folder / "store", 0)
        pipeline = published_models.pipeline(folder, service=service)
        with Running(pipeline, folder / "store", SHOP_TOKEN="let-me-in", SHOP_ADMIN="i-am-root") as running:
            yield running

    @pytest.mark.integration
    def test_all_endpoints_except_health_require_token(self, guarded: Running) -> None:
        http = guarded.http
        for given in (
            {},
            {"authorization": "Bearer let-me-out"},
            {"authorization": "Basic let-me-in"},
            {"authorization": "Bearer i-am-root"},
        ):
            assert http.post("/predict", content=dumps([published_models.ROW]), headers=given).status_code == 401
            for path in ("/metrics", "/openapi.json", "/v2", f"/v2/models/{published_models.PIPELINE}"):
                response = http.get(path, headers=given)
                assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
            assert http.get("/v2/health/ready", headers=given).status_code == 200
        assert (
            http.post(
                "/predict", content=dumps([published_models.ROW]), headers={"authorization": "Bearer let-me-in"}
            ).status_code
            == 200
        )
        assert http.get("/metrics", headers={"authorization": "bearer  let-me-in"}).status_code == 200

    @pytest.mark.integration
    def test_admin_endpoints_require_admin_token(self, guarded: Running) -> None:
        for given in ({}, {"authorization": "Bearer let-me-in"}):
            assert guarded.http.post("/admin/reload", headers=given).status_code == 401
        admin = {"authorization": "Bearer i-am-root"}
        assert guarded.http.post("/admin/reload", headers=admin).json() == {"serving": [STABLE], "absent": None}

    @pytest.mark.integration
    def test_temporary_log_level_reverts_after_timeout(self, guarded: Running) -> None:
        admin = {"authorization": "Bearer i-am-root"}
        for body in ({"level": "LOUD"}, {"level": "DEBUG", "seconds": -1}, {"level": "DEBUG", "seconds": 1e9}):
            assert guarded.http.post("/admin/log-level", json=body, headers=admin).status_code == 400
        named = guarded.http.post("/admin/log-level", json={"level": "WARN", "seconds": 60}, headers=admin)
        assert named.json() == {"level": "WARNING", "seconds": 60}
        found = guarded.http.post("/admin/log-level", json={"level": "DEBUG", "seconds": 0.2}, headers=admin)
        assert found.json() == {"level": "DEBUG", "seconds": 0.2}
        guarded.until(lambda: any("log level INFO again" in line for line in guarded.log))

    @pytest.mark.integration
    def test_debug_log_has_request_version_latency_reason_and_trace(self, guarded: Running) -> None:
        admin, caller = ({"authorization": f"Bearer {token}"} for token in ("i-am-root", "let-me-in"))
        http, trace = guarded.http, "5cd1e2f3" * 4
        traced = caller | {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
        http.post("/admin/log-level", json={"level": "DEBUG", "seconds": 60}, headers=admin)
        http.post("/predict", content=dumps([published_models.ROW] * 3), headers=traced)
        http.post("/predict", content=dumps([{"nothing": "personal-value"}]), headers=traced)
        http.post("/predict", content=dumps([published_models.ROW]), headers={"authorization": "Bearer let-me-out"})
        http.get("/metrics", headers=caller)
        http.post("/admin/log-level", json={"level": "INFO", "seconds": 60}, headers=admin)
        guarded.until(lambda: any("log level INFO for" in line for line in guarded.log))
        log = "".join(line for line in guarded.log if "[DEBUG]" in line)
        short = re.escape(f"trace={trace[:8]}")
        assert re.search(rf"3 rows of \d+ bytes: {STABLE}: answered after 0\.\d+ s {short}", log), log
        assert re.search(rf"POST '/predict': 200 in \d+\.\d+ s, \d+ bytes {short}", log), log
        assert re.search(rf"POST '/predict': 400 in .* bytes: rows\[0\] has no .* {short}", log), log
        assert re.search(r"POST '/predict': 401 in .* bytes: no valid bearer token", log), log
        assert re.search(r"GET '/metrics': 200 in ", log), log
        assert not any(text in log for text in ("let-me-in", "let-me-out", "i-am-root", "personal-value"))

    @pytest.mark.integration
    def test_log_contains_no_token(self, guarded: Running) -> None:
        assert not any("let-me-in" in line or "i-am-root" in line for line in guarded.log)


@pytest.mark.integration
def test_admin_endpoints_return_404_without_admin_token(shared: Running) -> None:
    response = shared.http.post("/admin/drain", headers={"authorization": "Bearer x"})
    assert response.status_code == 404
    assert shared.ready()["state"] == "ok"


def refused(*arguments: str, **variables: str) -> str:
    """Return what `ai-workflow serve` says as it refuses to start."""
    command = [sys.executable, "-c", "from ai_workflow.cli.main import main; main()", "serve", *arguments]
    done = ending_commands.run(command, cwd=ROOT, env=os.environ | variables)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.integration
def test_public_host_without_token_is_rejected_at_start(tmp_path: Path) -> None:
    pipeline = str(published_models.pipeline(tmp_path))
    said = refused("--pipeline", pipeline, "--store", str(tmp_path), "--host", "0.0.0.0")  # noqa: S104
    assert "set service.token" in said


@pytest.mark.slow
def test_missing_token_secret_or_used_port_is_rejected_at_start(tmp_path: Path) -> None:
    named = published_models.pipeline(tmp_path, service={"token": "${secret:shop-token}"})
    assert "secret 'shop-token' is not set" in refused("--pipeline", str(named), "--store", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused("--pipeline", str(published_models.pipeline(tmp_path)), "--store", str(tmp_path), "--port", port)
    assert f"cannot listen on 127.0.0.1:{port}" in said


@pytest.mark.slow
def test_overload_returns_503_with_retry_after_and_health_stays_up(tmp_path: Path, faults: Path, root: Path) -> None:
    pipeline = published_models.pipeline(tmp_path, service={"max_in_flight": 4}, inference={"deadline_ms": 1000})
    with Running(pipeline, root, faults) as running:
        for version in (LATEST, STABLE):
            (faults / version).write_text("slow")
        with Traffic(running.port, dumps([published_models.ROW]), rate=100) as traffic:
            time.sleep(0.8)
            assert running.http.get("/v2/health/ready").status_code == 200
        counts = {status: sum(told.status == status for told in traffic.told) for status in (200, 503)}
        assert traffic.lost == []
        assert counts[200] > 0
        assert counts[503] > 0
        refused = running.metrics()[f'inference_requests_total{{{SHOP},status="rejected"}}']
        assert refused == counts[503]
        response = next(told for told in traffic.told if told.status == 503)
        assert "max_in_flight" in response.body["error"]
        shown = {(told.body["trace_id"], told.status) for told in traffic.told}
        for kind, status in (("rejected", 503), ("slow", 200)):
            found = [each for each in examples(running) if f'kind="{kind}"' in each]
            assert found
            assert {(each.split('"')[-2], status) for each in found} <= shown


@pytest.mark.integration
def test_fallback_is_logged_with_trace_without_repeats(tmp_path: Path, faults: Path, root: Path) -> None:
    with Running(published_models.pipeline(tmp_path), root, faults) as running:
        (faults / LATEST).write_text("raise")
        found = [running.predict(published_models.ROW) for _ in range(4)]
        assert [each["fallback_reason"] for each in found] == [f"{LATEST}: error"] * 4
        line = f"answered by {STABLE}: {LATEST}: error trace={found[0]['trace_id'][:8]}"
        running.until(lambda: any(line in told for told in running.log))
        assert sum("answered by" in told for told in running.log) == 1
        # Of many there is one example: the first, for as long as it stands.
        trace_id = found[0]["trace_id"]
        assert {example(kind, LATEST, trace_id) for kind in ("error", "fallback")} <= examples(running)
        assert not any(STABLE in shown for shown in examples(running))


@pytest.mark.slow
def test_failing_pinned_version_has_no_fallback(tmp_path: Path, faults: Path, root: Path) -> None:
    with Running(published_models.pipeline(tmp_path), root, faults) as running:
        (faults / LATEST).write_text("hang")
        pinned = f"/v2/models/{published_models.PIPELINE}/versions/{LATEST}/infer"
        response = running.http.post(pinned, json=features([published_models.ROW]))
        assert (response.status_code, response.headers["retry-after"]) == (504, "1")
        assert f"{LATEST}: timeout" in response.json()["error"]
        trace_id = response.json()["trace_id"]
        assert {example("timeout", version, trace_id) for version in (LATEST, "")} <= examples(running)
        (faults / LATEST).unlink()
        running.until(lambda: running.http.post(pinned, json=features([published_models.ROW])).status_code == 200)


@pytest.mark.integration
def test_sigterm_drains_requests_without_loss(tmp_path: Path, root: Path) -> None:
    pipeline = published_models.pipeline(tmp_path, service={"drain_seconds": 20})
    with Running(pipeline, root) as running, Traffic(running.port, dumps([published_models.ROW])) as traffic:
        running.until(lambda: traffic.told)
        running.process.terminate()
        running.until(
            lambda: httpx.get(f"http://127.0.0.1:{running.port}/v2/health/ready", timeout=60).status_code == 503
        )
        assert httpx.get(f"http://127.0.0.1:{running.port}/v2/health/live", timeout=60).status_code == 200
        before = len(traffic.told)
        running.until(lambda: len(traffic.told) > before + 10)
        traffic.stop()
        # Asked a second time it waits no longer.
        running.process.terminate()
        assert traffic.lost == []
        assert {told.version for told in traffic.told} == {LATEST}
        assert running.process.wait(25) == 0
        running.until(lambda: any("stopped" in line for line in running.log))


@pytest.mark.integration
def test_sigkill_leaves_no_orphaned_worker_process(tmp_path: Path, faults: Path, root: Path) -> None:
    with Running(published_models.pipeline(tmp_path, inference={"deadline_ms": 60_000}), root, faults) as running:
        left = children(running.process.pid)
        assert len(running.workers()) == 2
        (faults / LATEST).write_text("hang holding the GIL")
        with Traffic(running.port, dumps([published_models.ROW]), rate=20) as traffic:
            time.sleep(0.3)
            running.process.send_signal(signal.SIGKILL)
            running.process.wait()
            traffic.stop()
        running.until(lambda: not any(lives(pid) for pid in left), 2.0)


@pytest.mark.integration
def test_oversized_inference_header_length_returns_400(shared: Running) -> None:
    response = shared.http.post(INFER, content=b"{}", headers={"inference-header-content-length": "9" * 5000})
    assert response.status_code == 400
    assert response.json()["error"] == "Inference-Header-Content-Length is not a number of bytes"


@pytest.mark.integration
def test_compressed_body_returns_415_with_accept_encoding(shared: Running) -> None:
    body = gzip.compress(dumps([published_models.ROW]))
    response = shared.http.post("/predict", content=body, headers={"content-encoding": "gzip"})
    assert (response.status_code, response.headers["accept-encoding"]) == (415, "identity")
    assert "Content-Encoding 'gzip' is not supported" in response.json()["error"]
    plain = shared.http.post(
        "/predict", content=dumps([published_models.ROW]), headers={"content-encoding": "identity"}
    )
    assert plain.status_code == 200


@pytest.mark.integration
def test_unseen_categories_are_counted_by_version_and_column(tmp_path: Path) -> None:
    columns = {name: dict(column) for name, column in published_models.COLUMNS.items()}
    columns["colour"] = {"type": "category", "nullable": True}
    counts = [["red", 9], ["green", 8], ["7.0", 1]]
    spec = {
        **published_models.spec(columns),
        "statistics": {"colour": {"counts": counts}},
        "cells": {"missing": ["?"], "strip": True},
    }
    data = json.dumps(spec).encode()
    published_models.publish(tmp_path / "store", 0, features=data)
    name = 'inference_unseen_category_total{column="colour",model_version="model_v1.0",pipeline="shop"}'
    with Running(published_models.pipeline(tmp_path), tmp_path / "store") as running:
        assert running.metrics()[name] == 0
        # Known, rare, missing in three ways, and the same as JSON types.
        running.predict(*({**published_models.ROW, "colour": value} for value in (" red ", "7.0", 7, "?", "", None)))
        assert running.metrics()[name] == 0
        assert not [sample for sample in running.metrics() if 'kind="unseen"' in sample]
        answer = running.predict({**published_models.ROW, "colour": "pink"}, {**published_models.ROW, "colour": 8})
        assert running.metrics()[name] == 2
        labels = 'column="colour",kind="unseen",model_version="model_v1.0",pipeline="shop"'
        assert running.metrics()[f'inference_example_info{{{labels},trace_id="{answer["trace_id"]}"}}'] == 1
        known, missing = (running.predict({**published_models.ROW, "colour": value}) for value in ("red", None))
        for value, same in ((" red", known), (" ? ", missing), ("", missing)):
            assert (
                running.predict({**published_models.ROW, "colour": value})["predictions"][0]["score"]
                == (same["predictions"][0]["score"])
            )
        response = running.http.post("/predict", json={"rows": [{**published_models.ROW, "colour": True}]})
        assert response.status_code == 400
        assert response.json()["error"].startswith("rows[0].colour is true or false, and the source has other values")
        assert response.json()["error"].endswith(": true")
        running.predict({**published_models.ROW, "price": 1e300})
        assert not [line for line in running.log if "Warning" in line]
