"""Old event shapes, lifted one version at a time.

Shapes  UPCASTERS[name, n] turns the stored fields of version n into those of n + 1. A step is
        pure, never edited once released, and has a golden file in tests/golden.
"""

from collections.abc import Callable, Mapping
from typing import Any

Shape = dict[str, Any]

UPCASTERS: Mapping[tuple[str, int], Callable[[Shape], Shape]] = {}
