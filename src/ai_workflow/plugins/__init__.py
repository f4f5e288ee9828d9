"""Python code of a team, found by dotted path (`credit.models:CatBoost`) or by entry point, and run with clear errors.

The code itself is in cache keys; the modules that find it are not.
"""

from __future__ import annotations

IN_CACHE_KEY = False
