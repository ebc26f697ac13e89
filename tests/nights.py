"""Which cases of a long list run every time, and which every night."""

from collections.abc import Iterable
from typing import Any

import pytest


def nightly_but(cases: Iterable[Any], *kept: Any) -> list[Any]:
    """Marks all cases as nightly but those that are kept for every run."""
    cases = list(cases)
    assert set(kept) <= set(cases)
    return [case if case in kept else _nightly(case) for case in cases]


def _nightly(case: Any) -> Any:
    values = case if type(case) is tuple else (case,)
    return pytest.param(*values, marks=pytest.mark.nightly)
