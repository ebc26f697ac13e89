"""The figures: what is drawn is what was measured, gaps included."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bots_jax import plots

ROWS = [
    {"step": 0, "held_out/solved": 0.2, "effective_task_ratio": 0.5, "coverage": 1.0},
    {"step": 1, "effective_task_ratio": 0.7, "coverage": None},
    {"step": 2, "held_out/solved": None, "effective_task_ratio": None, "coverage": 0.8},
    {"step": 3, "held_out/solved": 0.6, "effective_task_ratio": 0.9, "coverage": 0.7},
    {"step": 4, "held_out/solved": 0.7},
]


@pytest.fixture
def ax() -> Axes:
    return Figure().subplots()


def drawn(ax: Axes) -> list[list[list[float]]]:
    return [np.asarray(line.get_xydata()).tolist() for line in ax.get_lines()]


def test_learning_curve(ax):
    plots.learning_curve(ax, ROWS, label="bots")
    assert drawn(ax) == [[[0, 0.2], [3, 0.6], [4, 0.7]]]
    assert ax.get_xlabel() == "training step"
    assert ax.get_ylabel() == "held-out success (sampled)"
    assert ax.get_ylim() == (0, 1) and ax.get_title() == "Learning curve"
    assert [line.get_label() for line in ax.get_lines()] == ["bots"]


def test_effective_tasks_stand_beside_their_coverage(ax):
    """Running means of two: 0.5, (0.5 + 0.7) / 2 = 0.6, (0.7 + 0.9) / 2 = 0.8."""
    plots.effective_tasks(ax, ROWS, label="bots", window=2)
    smooth, raw, coverage = drawn(ax)
    np.testing.assert_allclose(smooth, [[0, 0.5], [1, 0.6], [3, 0.8]])
    assert raw == [[0, 0.5], [1, 0.7], [3, 0.9]]
    assert coverage == [[0, 1.0], [2, 0.8], [3, 0.7]]
    legend = ax.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["bots: effective tasks", "bots: coverage"]
    assert ax.get_title() == "Effective task ratio (mean of 2 steps) and coverage"


def test_calibration(ax):
    """Six tasks believed at 0.25, half of them solved; one at 1.0 is too few."""
    believed = np.array([0.25] * 6 + [1.0])
    measured = np.array([0, 1, 0, 1, 0, 1, 0.5])
    plots.calibration(ax, believed, measured)
    diagonal, means = drawn(ax)
    assert diagonal == [[0, 0], [1, 1]]
    assert means == [[0.25, 0.5]]
    (points,) = ax.collections
    offsets = np.asarray(points.get_offsets())
    np.testing.assert_array_equal(offsets, np.stack([believed, measured], 1))
    assert ax.get_xlabel() == "posterior mean"
    assert ax.get_ylabel() == "true success rate"
    assert "(7 tasks)" in ax.get_title()


@pytest.mark.parametrize("target", [0.5, None])
def test_picked_difficulty(ax, target):
    """Step 0 picks rates 0 and 1, step 1 picks 0.5 twice; three rows from 0 to 1."""
    picked = np.array([[0.0, 1.0], [0.5, 0.5]])
    plots.picked_difficulty(ax, picked, target, bins=3)
    shares = np.asarray(ax.collections[0].get_array()).reshape(3, 2)
    np.testing.assert_allclose(shares, [[0.5, 0], [0, 1], [0.5, 0]])
    lines = [np.asarray(line.get_ydata()).tolist() for line in ax.get_lines()]
    assert lines == ([[0.5, 0.5]] if target else [])
    assert ax.get_xlim() == (0, 2) and ax.get_title() == "Picked difficulty over time"
    assert len(ax.figure.axes) == 2  # the colour bar


def test_picked_difficulty_of_tasks_without_a_rate(ax):
    plots.picked_difficulty(ax, np.array([[0.2, np.nan], [0.9, 0.8]]), 0.5, bins=2)
    shares = np.asarray(ax.collections[0].get_array()).reshape(2, 2)
    np.testing.assert_allclose(shares, [[1, 0], [0, 1]])


@pytest.mark.parametrize("draw", [plots.learning_curve, plots.effective_tasks])
def test_rows_without_a_number_draw_nothing_and_do_not_fail(ax, draw):
    draw(ax, [{"step": 0}, {"step": 1, "coverage": None}])
    assert all(not points for points in drawn(ax))
