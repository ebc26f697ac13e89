"""Samplers of one selector share its programs in these tests."""

import pytest

from tests.host.common import share_programs


@pytest.fixture(autouse=True)
def _shared_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    share_programs(monkeypatch)
