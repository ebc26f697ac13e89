"""The shapes that pass between the files of this room; all are numpy arrays."""

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

PerTaskIndex = Int32[np.ndarray, " num_tasks"]
"""One small integer per task: int32 [N]."""

PerTaskRate = Float32[np.ndarray, " num_tasks"]
"""One number per task: float32 [N]."""

TokenIds = Int32[np.ndarray, "rows length"]
"""One text per row: int32 [n, length]."""

CellRates = Float32[np.ndarray, "families levels"]
"""One number per family and level: float32 [families, levels]."""

CellCounts = Int64[np.ndarray, "families levels"]
"""One count per family and level: int64 [families, levels]."""

PerRollout = Float32[np.ndarray, " rollouts"]
"""One score per completion: float32 [R]."""

PerExampleId = Int64[np.ndarray, " rows"]
"""Which task an example shows: int64 [size]."""

PerExampleFlag = Bool[np.ndarray, " rows"]
"""One flag per example: bool [size]."""
