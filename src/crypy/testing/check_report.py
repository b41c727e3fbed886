"""What `check_model` found: a line for each check, and whether anything is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["ok", "wrong", "skipped", "told"]
Numbers = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `told` reports a number that nobody can call right or wrong; `skipped` says why it was not made."""

    name: str
    outcome: Outcome
    sentence: str
    numbers: Numbers = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All checks of one model, on data described by `data`, in `seconds` of wall time."""

    model: str
    data: str
    checks: tuple[Check, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.wrong

    @property
    def wrong(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.outcome == "wrong")

    def __getitem__(self, name: str) -> Check:
        """The check of that name. Raises `KeyError`."""
        return {check.name: check for check in self.checks}[name]

    def as_json(self) -> Numbers:
        """For `--json`: model, data, ok, seconds, and name, outcome, sentence and numbers of each check."""
        rows = [
            {"name": one.name, "outcome": one.outcome, "sentence": one.sentence, "numbers": one.numbers}
            for one in self.checks
        ]
        return {
            "model": self.model,
            "data": self.data,
            "ok": self.ok,
            "seconds": round(self.seconds, 2),
            "checks": rows,
        }

    def __str__(self) -> str:
        width = max((len(check.name) for check in self.checks), default=0)
        lines = [f"{check.name:<{width}}  {check.outcome:<7}  {check.sentence}" for check in self.checks]
        verdict = (
            "nothing is wrong" if self.ok else f"{len(self.wrong)} of {len(self.checks)} checks found something wrong"
        )
        return "\n".join([f"{self.model} on {self.data}", *lines, verdict])


def fine(name: str, sentence: str, **numbers: Any) -> Check:
    """Checked, and as it should be."""
    return Check(name, "ok", sentence, numbers)


def wrong(name: str, sentence: str, **numbers: Any) -> Check:
    """Checked, and not as it should be."""
    return Check(name, "wrong", sentence, numbers)


def skipped(name: str, sentence: str) -> Check:
    """Not checked, and why."""
    return Check(name, "skipped", sentence)


def told(name: str, sentence: str, **numbers: Any) -> Check:
    """A number for the reader to judge."""
    return Check(name, "told", sentence, numbers)
