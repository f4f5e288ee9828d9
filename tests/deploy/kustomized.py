"""What `kubectl kustomize` itself makes of a folder, put back so that it can be held against what tests read."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

# What kustomize adds to the name of a map that it has made.
_HASH = re.compile(r"-[0-9a-z]{10}$")


def version() -> int:
    """Return which generation of kustomize this machine's kubectl holds; 0: none."""
    if shutil.which("kubectl") is None:
        return 0
    told = subprocess.run(
        ["kubectl", "version", "--client", "--output=yaml"], check=False, capture_output=True, text=True
    )
    found = re.search(r"kustomizeVersion: v(\d+)", told.stdout)
    return int(found[1]) if found else 0


def built(folder: Path) -> list[dict[str, Any]]:
    """Return all objects that kubectl would apply."""
    done = subprocess.run(["kubectl", "kustomize", folder], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return list(yaml.load_all(done.stdout, yaml.CSafeLoader))


def title(each: dict[str, Any], maps: frozenset[str]) -> tuple[str, str]:
    """Return kind and name of an object, without what kustomize has added to the name of one of its maps."""
    return each["kind"], plain(each["metadata"]["name"], maps)


def plain(name: str, maps: frozenset[str]) -> str:
    """Return the name of a map as the kustomization has it."""
    without = _HASH.sub("", name)
    return without if without in maps else name


def lost(ours: Any, theirs: Any, maps: frozenset[str], path: str = "") -> Iterator[str]:
    """Yield where an object, as tests read it, is not what is built; what kustomize adds to it is no difference."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key not in theirs:
                yield f"{path}.{key} is gone"
            else:
                yield from lost(value, theirs[key], maps, f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from lost(one, other, maps, f"{path}[{number}]")
    elif ours != (plain(theirs, maps) if isinstance(theirs, str) else theirs):
        yield f"{path}: {ours!r} has become {theirs!r}"


_FIXED = {
    "Job": ("selector", "template", "completionMode", "podFailurePolicy"),
    "Deployment": ("selector",),
    "DaemonSet": ("selector",),
    "ReplicaSet": ("selector",),
    "Service": ("clusterIP", "clusterIPs"),
}
# Of these kinds only the named fields may change.
_MUTABLE = {
    "Pod": (),
    "PersistentVolumeClaim": ("resources",),
    "StatefulSet": ("replicas", "template", "updateStrategy", "minReadySeconds", "ordinals"),
}


def immutable(each: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an object that the API server refuses to change, by kind; empty where it accepts all.

    https://kubernetes.io/docs/reference/kubernetes-api
    """
    kind, spec = each["kind"], each.get("spec", {})
    if kind in _MUTABLE:
        return {key: value for key, value in spec.items() if key not in _MUTABLE[kind]}
    found = {key: spec.get(key) for key in _FIXED.get(kind, ())}
    if each.get("immutable"):
        found |= {key: each.get(key) for key in ("data", "binaryData")}
    return found | ({"roleRef": each["roleRef"]} if "roleRef" in each else {})
