"""How a network is trained: what is drawn, in which steps, and when it ends. What is trained is `NetworkSettings`."""

from __future__ import annotations

from typing import Final

import msgspec

from crypy.domain.errors import ConfigError

LONGEST_S: Final = 172_800


class TrainerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The defaults are what did best on forward folds of 15 months of minutes of BTC and ETH.

    *What is drawn.* Origins every `spacing_s` (0: the dataset's own); of each `draws` horizons for each of `durations_s`: the duration itself, or, a share
    `random_share` of them, one that is log-uniform between a bar and twice the duration (two days at most). A draw weighs its duration's
    `duration_weights` / `draws`: long returns overlap so much that they tell little and mislead a lot.

    *Steps.* AdamW with `batch` examples (origin and symbol) a step, a linear warm-up over `warm_up_share` of all steps to `learning_rate` and a cosine
    down to zero; `weight_decay` on matrices only; gradients clipped to a global norm of `clip_norm`. Members of an ensemble differ by their seeds.

    *Ends.* After `epochs`; or, where `validation_share` of the range is held out at its end (behind an embargo of the longest horizon), when `patience`
    evaluations, `evaluations_per_epoch` of them an epoch, brought nothing better: then the best weights are taken.

    `checkpoint_s` and `checkpoint_steps` say how often work is saved, whichever comes first. Features of all origins are kept in memory where they fit in
    `keep_mb`; else they are made again for each batch.
    """

    seed: int = 0
    spacing_s: int = 0
    durations_s: tuple[int, ...] = (300, 900, 3_600, 14_400, 86_400)
    duration_weights: tuple[float, ...] = (1.0, 0.8, 0.5, 0.05, 0.01)
    draws: int = 1
    random_share: float = 0.5
    epochs: int = 4
    batch: int = 2_048
    learning_rate: float = 2e-3
    warm_up_share: float = 0.05
    weight_decay: float = 1e-3
    clip_norm: float = 1.0
    validation_share: float = 0.1
    evaluations_per_epoch: int = 2
    patience: int = 8
    checkpoint_s: float = 30.0
    checkpoint_steps: int = 500
    keep_mb: int = 2_000

    def __post_init__(self) -> None:
        for name in ("draws", "epochs", "batch", "evaluations_per_epoch", "patience", "checkpoint_steps"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("learning_rate", "clip_norm", "checkpoint_s"):
            _require(getattr(self, name) > 0.0, name, getattr(self, name), "above 0")
        for name in ("seed", "spacing_s", "weight_decay", "keep_mb"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "not below 0")
        for name in ("random_share", "warm_up_share"):
            _require(0.0 <= getattr(self, name) <= 1.0, name, getattr(self, name), "between 0 and 1")
        _require(0.0 <= self.validation_share <= 0.5, "validation_share", self.validation_share, "between 0 and 0.5")
        ascending = list(self.durations_s) == sorted(set(self.durations_s)) and bool(self.durations_s)
        lawful = ascending and self.durations_s[0] > 0 and self.durations_s[-1] <= LONGEST_S
        _require(lawful, "durations_s", self.durations_s, f"ascending, from 1 to {LONGEST_S} s")
        right = len(self.duration_weights) == len(self.durations_s) and min(self.duration_weights) >= 0.0
        _require(right and max(self.duration_weights) > 0.0, "duration_weights", self.duration_weights,
                 "one for each of durations_s, none below 0, one above")  # fmt: skip


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise ConfigError(f"trainer setting {name} = {value}: it must be {wanted}")
