"""The results of one part of the study that are there, whole pairs only."""

from pathlib import Path
from typing import Any

from bots_jax.compare.command import plain_settings
from bots_jax.compare.report import ArmReport, Run, compare_runs
from bots_jax.compare.settings import CompareSettings
from bots_jax.compare.shared import check_same_start
from bots_jax.evaluation.store import Cell, ResultStore

from .protocol import Part, Protocol


class Found:
    """The results of one part that are there, whole pairs only.

    Attributes:
      part: of the protocol.
      settings: of its setting.
      seeds: how many seeds every arm has.
      runs: arm -> one run per seed.
      reports: one per arm.
    """

    def __init__(self, protocol: Protocol, part: Part, results: Path):
        """Reads them."""
        self.part = part
        self.settings: CompareSettings = protocol.settings[part.setting]
        self._store = ResultStore(results / part.setting, plain_settings(self.settings))
        found = [self._read(seed) for seed in range(part.seeds)]
        whole = [records for records in found if len(records) == len(part.arms)]
        self.seeds = len(whole)
        self.runs: dict[str, list[Run]] = {
            arm: [Run(records[i]["curves"], records[i]["summary"]) for records in whole]
            for i, arm in enumerate(part.arms)
        }
        self.reports: list[ArmReport] = []
        if self.seeds >= 2:
            self.reports = compare_runs(self.runs)

    def _read(self, seed: int) -> list[dict[str, Any]]:
        """Reads what is there of a seed; all arms must have begun alike."""
        records = []
        for arm in self.part.arms:
            cell = Cell(self.settings.num_tasks, arm, seed)
            record = self._store.read(cell)
            if record is not None:
                records.append(record)
                start = record.get("start"), records[0].get("start")
                check_same_start(self._store.path(cell), *start)
        return records
