"""What the tests read of deploy/kubernetes is what kubectl makes of it, each folder for itself."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import kustomization, kustomized

pytestmark = pytest.mark.integration

FOLDERS = [kustomization.TOP, *(kustomization.TOP / name for name in ("base", "monitoring", "autoscaling"))]


def maps(objects: list[dict[str, Any]]) -> frozenset[str]:
    return frozenset(each["metadata"]["name"] for each in objects if each["kind"] == "ConfigMap")


def name(each: dict[str, Any]) -> tuple[str, str]:
    return each["kind"], each["metadata"]["name"]


def test_every_kustomization_folder_is_tested() -> None:
    assert {path.parent for path in kustomization.TOP.rglob("kustomization.yaml")} == set(FOLDERS)


def test_parsed_manifests_match_kubectl_build() -> None:
    for folder in FOLDERS:
        ours, theirs = list(kustomization.objects(folder)), kustomized.built(folder)
        names = maps(ours)
        found = {kustomized.title(each, names): each for each in theirs}

        assert set(found) == {kustomized.title(each, names) for each in ours}, folder
        assert len(found) == len(theirs) == len(ours)
        differences = {
            text for each in ours for text in kustomized.lost(each, found[kustomized.title(each, names)], names)
        }
        # The image gets its name and tag, the autoscaler the say over how many.
        assert {text for text in differences if "'ai-workflow' has become" not in text} <= {".spec.replicas is gone"}
        assert bool(differences) == (folder.name in {"kubernetes", "base"})


def test_built_objects_have_project_namespace_and_label() -> None:
    for folder in FOLDERS:
        for each in kustomized.built(folder):
            assert each["kind"] == "Namespace" or each["metadata"]["namespace"] == "ai-workflow", each["metadata"]
            assert each["metadata"]["labels"]["app.kubernetes.io/name"] == "ai-workflow", each["metadata"]


def test_built_containers_use_kustomization_image() -> None:
    (image,) = kustomization.read(kustomization.TOP / "base")["images"]
    for folder in FOLDERS:
        images = {
            container["image"]
            for each in kustomized.built(folder) if "template" in each.get("spec", {})
            for kind in ("containers", "initContainers")
            for container in each["spec"]["template"]["spec"].get(kind, ())
        }  # fmt: skip
        assert images <= {f"{image['newName']}:{image['newTag']}"}


def test_new_image_or_site_file_changes_no_immutable_fields(tmp_path: Path) -> None:
    """`kubectl apply` of a change keeps the immutable fields of every object that keeps its name."""
    before = {name(each): each for each in kustomized.built(kustomization.TOP)}
    for folder in ("deploy/kubernetes", "monitoring"):
        shutil.copytree(kustomization.ROOT / folder, tmp_path / folder)
    changed = tmp_path / "deploy" / "kubernetes"
    site = changed / "base" / "site.yaml"
    site.write_text(site.read_text() + "# another line\n")
    base = changed / "base" / "kustomization.yaml"
    base.write_text(base.read_text().replace("newTag: ", "newTag: 9."))
    after = {name(each): each for each in kustomized.built(changed)}

    same_name = before.keys() & after.keys()
    assert [each for each in same_name if before[each] != after[each]], "the change must reach an object"
    assert {kind for kind, _ in before.keys() - after.keys()} == {"ConfigMap"}
    for each in same_name:
        assert kustomized.immutable(before[each]) == kustomized.immutable(after[each]), each


def test_changed_job_template_is_detected_as_immutable_change() -> None:
    def job(image: str) -> dict[str, Any]:
        return {"kind": "Job", "spec": {"template": {"spec": {"containers": [{"image": image}]}}}}

    assert kustomized.immutable(job("a:1")) != kustomized.immutable(job("a:2"))


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2, "added": 3}]}, []),
        ({"a": "map"}, {"a": "map-0123456789"}, []),
        ({"a": "other"}, {"a": "other-0123456789"}, [".a: 'other' has become 'other-0123456789'"]),
        ({"a": 1}, {}, [".a is gone"]),
        ({"a": [1]}, {"a": [1, 2]}, [".a: [1] has become [1, 2]"]),
    ],
)
def test_difference_between_manifests_is_reported(ours: Any, theirs: Any, said: list[str]) -> None:
    assert list(kustomized.lost(ours, theirs, frozenset({"map"}))) == said


def test_invalid_kustomization_raises_error(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [nothing.yaml]\n")
    with pytest.raises(RuntimeError, match=r"nothing\.yaml"):
        kustomized.built(tmp_path)
