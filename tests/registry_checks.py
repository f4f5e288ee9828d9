"""What must hold of a registry, whatever happened to it."""

from __future__ import annotations

from ai_workflow.registry.registry import Registry

FOLDER = "models/development/credit"


def is_sound(registry: Registry) -> set[str]:
    """Check that aliases and pins point at whole versions, and that the history replays to what holds.

    Returned is the version that a killed publisher placed and could not tell of, if there is one.
    """
    state, versions = registry.state(), registry.versions()
    assert {*state.pins, *filter(None, state.aliases.values())} <= set(versions)
    published: set[str] = set()
    for line in registry.history():
        match line["action"]:
            case "publish":
                published |= set(line["versions"])
            case "delete":
                published -= set(line["versions"])
            case "keep":
                published |= set(line["versions"])
    assert set(versions) == published, "a version that the history tells of is lost, or one is there that it does not"
    placed = {
        name
        for name in registry.store.names(registry.folder)
        if registry.store.exists(f"{registry.folder}/{name}/manifest.json")
    }
    untold = placed - set(versions) - set(state.deleting)
    assert len(untold) <= 1, "at most one was placed, and not told of yet"
    last = registry.history()[-1:]
    assert (last[0]["aliases"] if last else {"latest": None, "stable": None}) == state.aliases
    for name in versions:
        assert registry.damaged(registry.get(name)) == []
    return untold
