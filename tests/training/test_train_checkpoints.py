"""Checkpoints: what was kept comes back, and what is damaged or another run's is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crypy.domain.errors import ConfigError, DataError
from crypy.training.checkpoints import (
    FILE,
    Checkpoint,
    Evaluation,
    MemberRecord,
    forget_checkpoint,
    keep_checkpoint,
    read_checkpoint,
)

RUN = {"data": "abc", "trainer.learning_rate": "0.002"}


def some() -> Checkpoint:
    random = np.random.default_rng(0)
    looks = (Evaluation(10, 0.01, {"BTCUSDT": (0.02, -0.01)}), Evaluation(20, 0.005, {"BTCUSDT": (0.01, 0.0)}))
    weights = [random.normal(size=(3, 4)).astype(np.float32), np.zeros((0,), np.float32), np.array(7, np.int32)]
    # More than ten arrays: their order must not be that of text.
    many = [np.full((2,), index, np.float32) for index in range(12)]
    return Checkpoint(MemberRecord(20, looks, 0), weights, many, weights[:1], ((MemberRecord(40, looks, 1), many),))


def same(left: list[np.ndarray], right: list[np.ndarray]) -> bool:
    return len(left) == len(right) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(left, right, strict=True)
    )


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    kept = some()
    keep_checkpoint(tmp_path / "work", RUN, kept)
    found = read_checkpoint(tmp_path / "work", RUN)
    assert found is not None
    assert found.record == kept.record
    assert found.record.since_best == 1
    assert same(found.parameters, kept.parameters)
    assert same(found.optimiser, kept.optimiser)
    assert same(found.best, kept.best)
    assert found.finished[0][0] == kept.finished[0][0]
    assert same(found.finished[0][1], kept.finished[0][1])
    forget_checkpoint(tmp_path / "work")
    assert not (tmp_path / "work").exists()
    assert read_checkpoint(tmp_path / "work", RUN) is None


def test_a_checkpoint_of_another_run_is_refused_with_what_differs(tmp_path: Path) -> None:
    keep_checkpoint(tmp_path, RUN, some())
    with pytest.raises(ConfigError, match=r"trainer.learning_rate was 0.002, is 0.001.*--restart"):
        read_checkpoint(tmp_path, RUN | {"trainer.learning_rate": "0.001"})
    with pytest.raises(ConfigError, match="data was abc, is abd"):
        read_checkpoint(tmp_path, RUN | {"data": "abd"})
    with pytest.raises(ConfigError, match="more was not there"):
        read_checkpoint(tmp_path, RUN | {"more": "1"})


@pytest.mark.parametrize("at", [0, 3, 100, -1, -40])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, at: int) -> None:
    keep_checkpoint(tmp_path, RUN, some())
    content = bytearray((tmp_path / FILE).read_bytes())
    content[at] ^= 0x40
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises((DataError, ConfigError), match=str(tmp_path)):
        read_checkpoint(tmp_path, RUN)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_a_checkpoint_that_was_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    keep_checkpoint(tmp_path, RUN, some())
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match="begin anew"):
        read_checkpoint(tmp_path, RUN)
