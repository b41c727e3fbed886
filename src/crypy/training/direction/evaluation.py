"""One evaluation of direction forecasts: each symbol and timeframe, all of them together, and everything else that was asked the same questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from crypy.domain.errors import Incomplete
from crypy.domain.times import US_PER_S, iso
from crypy.training.direction.calls import Calls, pooled
from crypy.training.direction.scores import DirectionScore, score


@dataclass(frozen=True, slots=True)
class Asked:
    """What was forecast of one symbol and timeframe: `calls` are those judged, `others` what baselines and other models said at the same origins.

    `left_out` counts forecasts that are not judged, by why.
    """

    symbol: str
    timeframe: str
    timeframe_s: int
    calls: Calls
    others: Mapping[str, Calls]
    left_out: Mapping[str, int] = field(default_factory=dict[str, int])


class PartScore(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol and timeframe; `others` by name, judged on the same facts."""

    symbol: str
    timeframe: str
    score: DirectionScore
    others: dict[str, DirectionScore]
    left_out: dict[str, int] = {}


class DirectionEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """`overall` and `others` are of all parts together. `start` and `end` are the closes of the first and the last forecast judged, ISO 8601 UTC;
    `notes` say what a reader should know of how it was made."""

    model: str
    start: str
    end: str
    overall: DirectionScore
    others: dict[str, DirectionScore]
    parts: tuple[PartScore, ...]
    left_out: dict[str, int] = {}
    notes: tuple[str, ...] = ()

    def part(self, symbol: str, timeframe: str) -> PartScore:
        """Raises `KeyError` where it was not judged."""
        for one in self.parts:
            if (one.symbol, one.timeframe) == (symbol, timeframe):
                return one
        raise KeyError(f"{self.model} was not judged on {symbol} {timeframe}")

    def as_json(self) -> dict[str, Any]:
        """The overall scores at the top, `baselines` beside them, and each part under `by`, as `crypy forecast eval --json` prints it."""
        return {
            "model": self.model,
            "start": self.start,
            "end": self.end,
            **self.overall.plain(),
            "baselines": {name: one.plain() for name, one in self.others.items()},
            "by": [
                {
                    "symbol": part.symbol,
                    "timeframe": part.timeframe,
                    **part.score.plain(),
                    "baselines": {name: one.plain() for name, one in part.others.items()},
                    "left_out": part.left_out,
                }
                for part in self.parts
            ],
            "left_out": self.left_out,
            "notes": self.notes,
        }


def evaluate(model: str, asked: Sequence[Asked], notes: Sequence[str] = ()) -> DirectionEvaluation:
    """Judge what was asked; parts without any fact yet are left out. Raises `Incomplete` where none has one."""
    judged = [part for part in asked if len(part.calls)]
    left_out: dict[str, int] = {}
    for part in asked:
        for why, count in part.left_out.items():
            left_out[why] = left_out.get(why, 0) + count
    if not judged:
        told = ", ".join(f"{count} {why}" for why, count in left_out.items() if count) or "none at all"
        raise Incomplete(f"no forecast can be judged yet ({told}); each needs the candle after it to have closed", ())
    parts = tuple(
        PartScore(
            symbol=part.symbol,
            timeframe=part.timeframe,
            score=score(part.calls, part.timeframe_s, part.others),
            others={name: score(calls, part.timeframe_s) for name, calls in part.others.items()},
            left_out=dict(part.left_out),
        )
        for part in judged
    )
    names = list(dict.fromkeys(name for part in judged for name in part.others))
    spacing_s = min(part.timeframe_s for part in judged)
    return DirectionEvaluation(
        model=model,
        start=iso(min(int(part.calls.origins_s[0]) for part in judged) * US_PER_S),
        end=iso(max(int(part.calls.origins_s[-1]) for part in judged) * US_PER_S),
        overall=_overall([part.calls for part in judged], spacing_s),
        others={
            name: _overall([part.others[name] for part in judged if name in part.others], spacing_s) for name in names
        },
        parts=parts,
        left_out=left_out,
        notes=tuple(notes),
    )


def _overall(parts: Sequence[Calls], spacing_s: int) -> DirectionScore:
    return score(parts[0] if len(parts) == 1 else pooled(parts), spacing_s)
