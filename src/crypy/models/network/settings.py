"""What a network looks like: its encoder, what it looks back on, and over which horizons it may correct the baseline."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final, Literal, Self

import msgspec

from crypy.domain.errors import ConfigError
from crypy.marketdata.schema import CHANNELS, Block, Channel

Encoder = Literal["segments", "lstm", "convolution", "recurrence"]
CHANNELS_BY_DEFAULT: Final[tuple[Channel, ...]] = ("returns", "volume", "realised_variance", "range")
_WEEK_S: Final = 604_800
_DAY_S: Final = 86_400
_QUARTER_DAY_S: Final = 14_400


class NetworkSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Architecture of the networks and the law they answer with; the same for all members of an ensemble.

    `encoder` segments is a perceptron on hand-made summaries of the past (`segments`), served without JAX; lstm, convolution and
    recurrence read the blocks window by window. `hidden` are the widths of the perceptron's layers; `state` is the width of a
    sequence encoder's memory or channels, and means nothing for segments.

    Corrections are joined by straight lines in the log of the horizon between `knots_s`; they are served in full up to `fade_from_s` and are gone
    from `fade_to_s` on: beyond it the forecast is the baseline. Training does not fade them: the fade shrinks what was learned, because
    the longer the horizon, the fewer returns it was learned from. `correction_scale` multiplies what the network gives, so that a
    step of the optimiser moves the law little. Raises `ConfigError` for what cannot be.
    """

    blocks: tuple[Block, ...]
    encoder: Encoder = "segments"
    hidden: tuple[int, ...] = (256, 128)
    state: int = 64
    dropout: float = 0.3
    knots_s: tuple[float, ...] = (60.0, 300.0, 900.0, 3_600.0, 14_400.0)
    fade_from_s: float = 300.0
    fade_to_s: float = 86_400.0
    correction_scale: float = 0.3
    members: int = 4

    @classmethod
    def for_step(cls, base_step_s: int, **changes: Any) -> Self:
        """Usual settings on bars of this step, a week of history; `changes` are fields by name.

        Raises `ConfigError` for a step that has no usual blocks: name them yourself.
        """
        if base_step_s < 60 and _DAY_S % base_step_s == 0:
            steps = tuple(base_step_s * times for times in (1, 32, 1_024))
            lengths = (64, 64, _WEEK_S // steps[2])
            changes = {"knots_s": (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0), **changes}
        elif base_step_s == 60:
            # Ranges of minutes tell more than ranges of quarter hours: summaries take four hours of them, a path that is read step by step one.
            minutes = 240 if changes.get("encoder", "segments") == "segments" else 60
            steps, lengths = (60, 900, _QUARTER_DAY_S), (minutes, _DAY_S // 900, _WEEK_S // _QUARTER_DAY_S)
        elif base_step_s < _QUARTER_DAY_S and _QUARTER_DAY_S % base_step_s == 0:
            steps, lengths = (base_step_s, _QUARTER_DAY_S), (_DAY_S // base_step_s, _WEEK_S // _QUARTER_DAY_S)
        else:
            raise ConfigError(f"there are no usual blocks for bars of {base_step_s} s; give `blocks`")
        blocks = tuple(Block(step, length, CHANNELS_BY_DEFAULT) for step, length in zip(steps, lengths, strict=True))
        fields: dict[str, Any] = {"blocks": blocks, **changes}
        return cls(**fields)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Those of each block."""
        return self.blocks[0].channels

    def __post_init__(self) -> None:
        if wrong := _wrong(self):
            raise ConfigError(f"a network cannot be built: {'; '.join(wrong)}")


def _wrong(settings: NetworkSettings) -> list[str]:
    """What is wrong with the settings, all of it."""
    wrong: list[str] = []
    blocks = settings.blocks
    if not blocks or any(one.step_s >= other.step_s for one, other in pairwise(blocks)):
        return ["it needs blocks of ascending steps"]
    if any(block.channels != settings.channels or block.length < 1 or block.step_s < 1 for block in blocks):
        wrong.append("all blocks have the same channels, and lengths of one window or more")
    if not {"returns", "realised_variance"} <= set(settings.channels) <= set(CHANNELS):
        wrong.append(f"channels are out of {', '.join(CHANNELS)}, returns and realised_variance among them")
    if not settings.hidden or min(*settings.hidden, settings.state, settings.members) < 1:
        wrong.append("hidden, state and members are 1 or more")
    if not 0.0 <= settings.dropout < 1.0:
        wrong.append(f"dropout {settings.dropout} lies outside [0, 1)")
    knots = settings.knots_s
    if len(knots) < 2 or not knots[0] > 0.0 or any(left >= right for left, right in pairwise(knots)):
        wrong.append(f"knots_s {knots} do not ascend from above 0")
    if not 0.0 < settings.fade_from_s < settings.fade_to_s:
        wrong.append(f"corrections fade from {settings.fade_from_s} s to {settings.fade_to_s} s, which is no range")
    if not 0.0 < settings.correction_scale <= 10.0:
        wrong.append(f"correction_scale {settings.correction_scale} lies outside (0, 10]")
    return wrong
