"""A writer that SIGKILL ends at any moment loses nothing that it had saved."""

import time

import numpy as np
import pytest

from bots_jax.checkpoint import Checkpoints
from tests.faults import saving_loop
from tests.faults.common import kill, start
from tests.test_checkpoint import assert_same


@pytest.mark.parametrize("mode", ["sync", "async", "again"])
@pytest.mark.parametrize(
    "kills", [2, pytest.param(50, marks=pytest.mark.nightly)], ids=["few", "many"]
)
def test_killed_at_random_moments(tmp_path, mode, kills):
    """A damaged checkpoint would warn, which is an error here."""
    rng = np.random.default_rng([kills, *mode.encode()])
    reader = Checkpoints(tmp_path, saving_loop.FINGERPRINT)
    script = saving_loop.__file__
    assert script is not None
    last = -1
    for _ in range(kills):
        process = start("-m", "tests.faults.saving_loop", str(tmp_path), mode)
        assert process.stdout is not None
        first = int(process.stdout.readline())
        time.sleep(rng.uniform(0, 0.1))
        last = max([last, first, *map(int, kill(process).split())])
        saved = reader.read_latest()
        if last < 0:  # the first save in the background was not yet complete
            continue
        assert saved is not None
        number = int(saved.arrays["number"])
        assert number >= last
        tree = saving_loop.make_tree(number)
        assert_same(saved.tree(tree), tree)
        assert saved.extra == {"number": number}
        assert saved.step == (number // 2 if mode == "again" else number)
        last = number
    with Checkpoints(tmp_path, saving_loop.FINGERPRINT) as checkpoints:
        checkpoints.save(last + 1, saving_loop.make_tree(last + 1))
    names = {path.name for path in tmp_path.iterdir()}
    assert all(name.isdigit() for name in names) and len(names) <= 2
