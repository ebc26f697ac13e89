"""Samplers saved by earlier versions go on as they would have then."""

import json
import pathlib

import numpy as np
import pytest

from bots_jax.host.saved import FORMAT
from tests.fixtures.make_sampler import ENGINES, HERE, make_sampler, train

VERSIONS = sorted(HERE.glob("sampler_v*"))


def test_every_format_has_a_fixture():
    found = [int(path.name.removeprefix("sampler_v")) for path in VERSIONS]
    assert sorted(found) == list(range(1, FORMAT + 1))


@pytest.mark.parametrize("number", range(len(ENGINES)))
@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_a_saved_sampler_goes_on(version: pathlib.Path, number: int):
    folder = version / str(number)
    expected = json.loads((folder / "expected.json").read_text())
    sampler = make_sampler(number)
    assert sampler.restore(folder) == (23, 0, 0)
    assert train(sampler, 4) == expected["batches"]
    for name, found in zip(("alpha", "beta"), sampler.posterior(), strict=True):
        np.testing.assert_allclose(found, expected[name], rtol=1e-5)
