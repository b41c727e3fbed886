"""How far training has come: counted here, shown elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S
from crypy.training.checkpoints import Evaluation

_REPORT_EVERY_US: Final = 500_000


class TrainingProgress(msgspec.Struct, frozen=True):
    """A run at one moment. `step` counts over all members; `loss` is the mean weighted negative log likelihood since the last report, in
    units of the baseline's scale, and `gain` by how much it is below the baseline's; both are of training examples under dropout. `evaluation` is the
    newest look at the held-out range, `None` where there was none. `eta_s` is `None` until there is a rate."""

    doing: str
    member: int
    members: int
    epoch: float
    epochs: int
    step: int
    steps: int
    loss: float | None = None
    gain: float | None = None
    examples_per_s: float | None = None
    eta_s: float | None = None
    evaluation: Evaluation | None = None


class Meter:
    """Counts steps and reports twice a second at most. Speed is measured from the first step of this process, so a resumed run tells the truth."""

    def __init__(
        self,
        clock: Clock,
        on_progress: Callable[[TrainingProgress], None] | None,
        members: int,
        epochs: int,
        steps_per_epoch: int,
        batch: int,
    ) -> None:
        self._clock = clock
        self._on_progress = on_progress
        self._members, self._epochs, self._steps_per_epoch = members, epochs, steps_per_epoch
        self._batch = batch
        self._reported_us = 0
        self._began_us: int | None = None
        self._done = 0
        self._evaluation: Evaluation | None = None

    @property
    def is_due(self) -> bool:
        """Whether it is time for a report."""
        return self._on_progress is not None and self._clock.now_us() - self._reported_us >= _REPORT_EVERY_US

    def stepped(self) -> None:
        """One more step is done. The clock starts behind the first, which compiles."""
        if self._began_us is None:
            self._began_us = self._clock.now_us()
        else:
            self._done += 1

    def evaluated(self, evaluation: Evaluation) -> None:
        """A look at the held-out range is done."""
        self._evaluation = evaluation

    def report(self, doing: str, member: int, step: int, loss: float | None = None, gain: float | None = None) -> None:
        """Tell how far member `member` has come, at its step `step`."""
        self._reported_us = self._clock.now_us()
        if self._on_progress is None:
            return
        per_member = self._epochs * self._steps_per_epoch
        elapsed_s = 0.0 if self._began_us is None else (self._reported_us - self._began_us) / US_PER_S
        rate = self._done / elapsed_s if self._done and elapsed_s > 0.0 else None
        left = (self._members - member) * per_member - step
        self._on_progress(
            TrainingProgress(
                doing,
                member + 1,
                self._members,
                round(step / self._steps_per_epoch, 2),
                self._epochs,
                member * per_member + step,
                self._members * per_member,
                loss,
                gain,
                None if rate is None else rate * self._batch,
                None if rate is None else left / rate,
                self._evaluation,
            )
        )
