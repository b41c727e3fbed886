"""Knobs: the values of a running agent that a person may read and turn.

A knob knows how to read its value, how to understand what a person typed, and how to set it. What
may be typed is decided here, at the edge; the agent's own setter sees checked values only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Generic, TypeVar

from crypy.domain.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Knob(Generic[T]):
    """One value under a name. `parse` raises `ConfigError` for what makes no sense; `set` may as well.

    `unit` is shown behind the value. A knob without `set` can be read only.
    """

    name: str
    get: Callable[[], T]
    set: Callable[[T], None] | None
    parse: Callable[[str], T]
    help: str
    unit: str = ""

    def show(self) -> str:
        """The value with its unit, as a person reads it."""
        value = self.get()
        text = ("on" if value else "off") if isinstance(value, bool) else str(value)
        return f"{text} {self.unit}".rstrip()

    def turn(self, text: str) -> None:
        """Set what a person typed. Raises `ConfigError` with the knob's name, the value and what is allowed."""
        if self.set is None:
            raise ConfigError(f"{self.name} can be read but not set")
        try:
            self.set(self.parse(text))
        except ConfigError as error:
            raise ConfigError(f"{self.name}: {error}") from None


def number(low: float = -math.inf, high: float = math.inf) -> Callable[[str], float]:
    """A finite float within bounds, both included."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ConfigError(f"{text!r} is not a number") from None
        if not math.isfinite(value):
            raise ConfigError(f"{text!r} is not a finite number")
        _check_bounds(value, low, high)
        return value

    return parse


def amount(low: Decimal | None = None, high: Decimal | None = None) -> Callable[[str], Decimal]:
    """An exact finite decimal within bounds, both included: money, prices, quantities."""

    def parse(text: str) -> Decimal:
        try:
            value = Decimal(text)
        except InvalidOperation:
            raise ConfigError(f"{text!r} is not a number") from None
        if not value.is_finite():
            raise ConfigError(f"{text!r} is not a finite number")
        _check_bounds(value, low, high)
        return value

    return parse


def whole(low: int | None = None, high: int | None = None) -> Callable[[str], int]:
    """An integer within bounds, both included."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ConfigError(f"{text!r} is not a whole number") from None
        _check_bounds(value, low, high)
        return value

    return parse


def switch(text: str) -> bool:
    """`on` or `off`, or their usual other spellings."""
    match text.lower():
        case "on" | "true" | "yes" | "1":
            return True
        case "off" | "false" | "no" | "0":
            return False
        case _:
            raise ConfigError(f"{text!r} is neither on nor off")


def one_of(*choices: str) -> Callable[[str], str]:
    """Exactly one of the words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ConfigError(f"{text!r} is none of {', '.join(choices)}")
        return text

    return parse


def _check_bounds(value: float | Decimal, low: float | Decimal | None, high: float | Decimal | None) -> None:
    if low is not None and value < low:
        raise ConfigError(f"{value} is below the least allowed, {low}")
    if high is not None and value > high:
        raise ConfigError(f"{value} is above the most allowed, {high}")
