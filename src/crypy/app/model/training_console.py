"""What a person sees while a model is trained."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from crypy.app.model.progress_line import progress_line

if TYPE_CHECKING:
    from crypy.training.progress import TrainingProgress


def shown_training(*, as_json: bool) -> AbstractContextManager[Callable[[TrainingProgress], None]]:
    """Shows progress on stderr: JSON lines, else a bar with epoch, loss, gain, speed and time left."""

    def fields(at: TrainingProgress) -> dict[str, object]:
        return {"description": at.doing, "total": at.steps or None, "completed": at.step, "told": described(at)}

    return progress_line("training", fields, as_json=as_json)


def described(at: TrainingProgress) -> str:
    """One line: how far, how good, how fast, how long still.

    Gains are nats below the baseline: live under dropout, and on the held-out range.
    """
    parts = (
        []
        if not at.steps
        else [f"network {at.member}/{at.members}, epoch {at.epoch:.2f}/{at.epochs}, step {at.step:,}/{at.steps:,}"]
    )
    if at.loss is not None:
        parts.append(f"loss {at.loss:.4f}")
    if at.gain is not None:
        parts.append(f"gain {at.gain:+.4f}")
    if at.evaluation is not None:
        parts.append(f"held out {at.evaluation.gain:+.4f}")
    if at.examples_per_s is not None:
        parts.append(f"{at.examples_per_s:,.0f} examples/s")
    if at.eta_s is not None:
        parts.append(f"{at.eta_s:.0f} s left")
    return ", ".join(parts)
