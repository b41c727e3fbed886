"""What the settings say of abstaining and of online learning, as live, replay and evaluation share it."""

from __future__ import annotations

import msgspec

from crypy.app.settings import ForecastSettings
from crypy.models.direction.calibration import CalibrationSettings
from crypy.models.direction.ensemble import Rewards
from crypy.models.direction.learner import LearnerSettings
from crypy.models.direction.patterns import PatternSettings
from crypy.models.direction.port import FlatRule


def flat_rule(chosen: ForecastSettings) -> FlatRule:
    """When the settings abstain."""
    return FlatRule(chosen.min_probability, chosen.min_margin)


def learner_settings(chosen: ForecastSettings) -> LearnerSettings:
    """What the settings switch on of online learning."""
    return LearnerSettings(
        Rewards(on=chosen.weigh),
        CalibrationSettings() if chosen.calibrate else CalibrationSettings(kind="off"),
        PatternSettings(on=chosen.remember),
    )


def ablations(whole: LearnerSettings) -> dict[str, LearnerSettings]:
    """Online learning without each of its parts that are on, by what is left out."""
    change = msgspec.structs.replace
    without: dict[str, LearnerSettings] = {}
    if whole.rewards.on:
        without["without weights"] = change(whole, rewards=change(whole.rewards, on=False))
    if whole.calibration.kind != "off":
        without["without calibration"] = change(whole, calibration=change(whole.calibration, kind="off"))
    if whole.patterns.on:
        without["without patterns"] = change(whole, patterns=change(whole.patterns, on=False))
    return without
