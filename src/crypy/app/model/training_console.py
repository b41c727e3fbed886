"""What a person sees while a model is trained: one line that is kept up to date on stderr; plain lines where stderr is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from crypy.training.progress import TrainingProgress


@contextmanager
def shown_training(*, as_json: bool) -> Generator[Callable[[TrainingProgress], None]]:
    """Shows progress: JSON lines on stderr, else a bar with epoch, loss, gain, speed and time left."""
    if as_json:
        encode = msgspec.json.Encoder().encode
        yield lambda at: print(encode(at).decode(), file=sys.stderr, flush=True)  # noqa: T201
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
    terminal = Console(stderr=True, highlight=False, markup=False)
    with Progress(*columns, console=terminal, transient=not sys.stderr.isatty()) as bar:
        task = bar.add_task("training", total=None, told="")

        def show(at: TrainingProgress) -> None:
            bar.update(task, description=at.doing, total=at.steps or None, completed=at.step, told=described(at))

        yield show


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
