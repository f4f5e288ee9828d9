"""Reads deploy/kubernetes as kustomize would find it: every object of every folder that a kustomization names."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
TOP = ROOT / "deploy" / "kubernetes"
# What kustomize knows of a kustomization, as far as these use it.
KEYS = {
    "apiVersion", "kind", "namespace", "labels", "resources", "patches", "configMapGenerator", "images",
}  # fmt: skip


def read(folder: Path) -> dict[str, Any]:
    """Return the kustomization of a folder.

    Raises:
        ValueError: it has a key that is not known, or names what is outside of its reach.
    """
    found: dict[str, Any] = yaml.load((folder / "kustomization.yaml").read_text(), yaml.CSafeLoader)
    if unknown := set(found) - KEYS:
        raise ValueError(f"{folder}: {sorted(unknown)} are not known")
    for name in [*_files(found), *found.get("resources", ())]:
        place = (folder / name).resolve()
        if not place.is_dir() and not place.is_relative_to(folder.resolve()):
            raise ValueError(f"{folder}: kustomize reads no file outside of its folder: {name}")
    return found


def objects(folder: Path = TOP) -> Iterator[dict[str, Any]]:
    """Yield every object, with the namespace of its kustomization; of generated ConfigMaps name and data."""
    found = read(folder)
    for name in found.get("resources", ()):
        place = (folder / name).resolve()
        yield from objects(place) if place.is_dir() else yaml.load_all(place.read_text(), yaml.CSafeLoader)
    for made in found.get("configMapGenerator", ()):
        data = dict(text.split("=", 1) for text in made.get("literals", ()))
        data |= {Path(name).name: (folder / name).read_text() for name in made.get("files", ())}
        labels = made.get("options", {}).get("labels", {})
        yield {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": made["name"], "labels": labels}, "data": data
        }  # fmt: skip


@cache
def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """Return the objects of a kind by their name."""
    return {each["metadata"]["name"]: each for each in objects() if each["kind"] == kind}


def _files(found: dict[str, Any]) -> list[str]:
    return [name for made in found.get("configMapGenerator", ()) for name in made.get("files", ())]
