"""What is not collected here: a test that finds nothing to hold against must not pass."""

from __future__ import annotations

from tests.deploy import kustomized

# No package of Debian's has a kubectl with kustomize 5, so that it cannot be asked for everywhere.
collect_ignore = [] if kustomized.version() >= 5 else ["test_kustomized.py"]
