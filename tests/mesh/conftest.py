"""Skips this folder where there are no eight devices."""

import pathlib

import jax
import pytest

_HERE = pathlib.Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if item.path.is_relative_to(_HERE)]
    if mine and jax.device_count() < 8:
        skip = pytest.mark.skip(reason="needs eight devices: tests/test_mesh.py")
        for item in mine:
            item.add_marker(skip)
