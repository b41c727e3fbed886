"""How a study of tuning is run, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass

from crypy.domain.errors import ConfigError
from crypy.training.study import PRUNERS


@dataclass(frozen=True, slots=True)
class TuningSettings:
    """`trials` is how many the study has in the end, those of earlier runs included. No trial begins later than `timeout_s` after the start (0:
    no limit). `embargo_s` lies between fit and fold (0: the longest horizon). `processes` of this machine work, or those of a dask `scheduler`."""

    trials: int = 50
    folds: int = 3
    embargo_s: int = 0
    seed: int = 0
    pruner: str = "median"
    timeout_s: float = 0.0
    processes: int = 1
    scheduler: str = ""

    def __post_init__(self) -> None:
        for name in ("trials", "folds", "processes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}: at least 1 is needed")
        if self.pruner not in PRUNERS:
            raise ConfigError(f"there is no pruner {self.pruner!r}; choose from {', '.join(PRUNERS)}")
        if self.embargo_s < 0 or self.seed < 0:
            raise ConfigError(f"embargo {self.embargo_s} s and seed {self.seed} must not be below 0")


@dataclass(frozen=True, slots=True)
class Progress:
    """After each trial: `best` is the best mean gain over the baseline so far (nats, `None` before the first), `eta_s` what is left to do."""

    ended: int
    of: int
    pruned: int
    failed: int
    best: float | None
    eta_s: float
