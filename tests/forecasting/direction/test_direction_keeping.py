"""What was learned outlives the process, whole, whenever it is killed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from direction_kit import START_S
from test_direction_recorder import room_for

from crypy.domain.errors import DataError
from crypy.forecasting.direction.keeping import Keeping
from crypy.models.direction.learner import Learner, LearnerSettings
from crypy.models.direction.patterns import PatternSettings

SETTINGS = LearnerSettings(patterns=PatternSettings(size=50, k=5, least=10, doubt=5.0))


def learn(learner: Learner, first: int, stop: int) -> None:
    for number in range(first, stop):
        rng = np.random.default_rng(number)
        end_s = START_S + 60 * number
        up = 0.3 + 0.4 * rng.random()
        learner.answer(end_s, {"a": (up, 0.95 - up), "b": (0.5, 0.45)}, rng.normal(size=3))
        learner.learn(end_s, int(rng.integers(-1, 2)))


def asked(learner: Learner, number: int = 500) -> object:
    return learner.look(START_S + 60 * number, {"a": (0.6, 0.3), "b": (0.5, 0.45)}, np.zeros(3))


def test_a_restart_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    keeping, whole = Keeping(tmp_path), Learner(SETTINGS)
    learner = keeping.load("BTCUSDT", 60, SETTINGS)
    for first in range(0, 120, 7):
        learn(learner, first, first + 7)
        learn(whole, first, first + 7)
        assert keeping.save([keeping.capture("BTCUSDT", 60, learner, START_S)]) == ""
        if first % 3 == 0:
            keeping = Keeping(tmp_path)
            learner = keeping.load("BTCUSDT", 60, SETTINGS)
    assert asked(learner) == asked(whole)
    assert asked(learner) != asked(Learner(SETTINGS))


def test_situations_written_just_before_a_crash_do_no_harm(tmp_path: Path) -> None:
    keeping = Keeping(tmp_path)
    learner = keeping.load("BTCUSDT", 60, SETTINGS)
    learn(learner, 0, 80)
    assert keeping.save([keeping.capture("BTCUSDT", 60, learner, START_S)]) == ""
    before = asked(learner)
    learn(learner, 80, 90)
    rows = learner.kept_patterns(80)
    with (tmp_path / "patterns-BTCUSDT-1m.bin").open("ab") as file:
        file.write(rows[: len(rows) - 3])  # the state was not written any more, and the last row only in part
    again = Keeping(tmp_path)
    back = again.load("BTCUSDT", 60, SETTINGS)
    assert asked(back) == before
    learn(back, 80, 90)
    assert again.save([again.capture("BTCUSDT", 60, back, START_S)]) == ""
    assert asked(Keeping(tmp_path).load("BTCUSDT", 60, SETTINGS)) == asked(learner)


def test_a_full_disk_is_told_and_made_up_for(tmp_path: Path) -> None:
    keeping = Keeping(tmp_path)
    learner = keeping.load("BTCUSDT", 60, SETTINGS)
    learn(learner, 0, 20)
    assert keeping.save([keeping.capture("BTCUSDT", 60, learner, START_S)]) == ""
    kept = asked(learner)
    learn(learner, 20, 40)
    with room_for(100):
        assert "cannot be written" in keeping.save([keeping.capture("BTCUSDT", 60, learner, START_S)])
    assert asked(Keeping(tmp_path).load("BTCUSDT", 60, SETTINGS)) == kept, "the old state is whole"
    keeping = Keeping(tmp_path)
    keeping.load("BTCUSDT", 60, SETTINGS)
    assert keeping.save([keeping.capture("BTCUSDT", 60, learner, START_S)]) == ""
    assert asked(Keeping(tmp_path).load("BTCUSDT", 60, SETTINGS)) == asked(learner)


def test_nothing_kept_is_a_new_learner(tmp_path: Path) -> None:
    assert asked(Keeping(tmp_path).load("ETHUSDT", 300, SETTINGS)) == asked(Learner(SETTINGS))


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"not json", b'{"symbol":"ETHUSDT","timeframe":"1m","end_s":0,"learned":{}}']
)
def test_a_file_that_is_none_of_ours_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "learned-BTCUSDT-1m.json").write_bytes(content)
    with pytest.raises(DataError, match=r"learned-BTCUSDT-1m\.json.*remove it"):
        Keeping(tmp_path).load("BTCUSDT", 60, SETTINGS)


def test_lost_situations_are_told(tmp_path: Path) -> None:
    keeping = Keeping(tmp_path)
    learner = keeping.load("BTCUSDT", 60, SETTINGS)
    learn(learner, 0, 30)
    keeping.save([keeping.capture("BTCUSDT", 60, learner, START_S)])
    (tmp_path / "patterns-BTCUSDT-1m.bin").unlink()
    with pytest.raises(DataError, match="situations"):
        Keeping(tmp_path).load("BTCUSDT", 60, SETTINGS)
