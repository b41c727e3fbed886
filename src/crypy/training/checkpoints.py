"""Checkpoints of a training run: one safetensors file that is replaced whole, so a kill at any moment leaves the old one or the new one.

Arrays are named by what they belong to (`parameters/0`, `optimiser/3`, `best/0`, `finished/0/0`); in the file's header stand `state`, JSON of the rest,
and `sha256` of all array bytes. A checkpoint of other settings or data is refused, with what differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from crypy.domain.errors import ConfigError, DataError
from crypy.marketdata.trade_files import whole_file

Arrays = list[NDArray[Any]]

FORMAT: Final = "crypy-checkpoint-1"
FILE: Final = "checkpoint.safetensors"


class Evaluation(msgspec.Struct, frozen=True):
    """A look at the held-out range after `step` steps: the mean gain over the baseline in nats, weighted as the loss, and by symbol and duration."""

    step: int
    gain: float
    gains: dict[str, tuple[float, ...]]


class MemberRecord(msgspec.Struct, frozen=True):
    """How a member was trained: its steps, what was seen on the held-out range, and which look was the best (-1: none was better than
    the baseline)."""

    steps: int = 0
    evaluations: tuple[Evaluation, ...] = ()
    best: int = -1

    @property
    def since_best(self) -> int:
        """Evaluations since the best one, or since the beginning."""
        return len(self.evaluations) - 1 - self.best


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The member in training, with its best weights (empty: nothing is held out), and the members that are done with their weights."""

    record: MemberRecord
    parameters: Arrays
    optimiser: Arrays
    best: Arrays
    finished: tuple[tuple[MemberRecord, Arrays], ...] = ()


class _State(msgspec.Struct, frozen=True):
    format: str
    run: dict[str, str]
    record: MemberRecord
    finished: tuple[MemberRecord, ...]


# Made before any thread needs it: see `marketdata.trade_files`.
_STATE: Final = msgspec.json.Decoder(_State)


def keep_checkpoint(folder: Path, run: Mapping[str, str], checkpoint: Checkpoint) -> None:
    """Write it durably in place of the one that is there. `run` says what the run depends on: data, settings, version."""
    groups = {"parameters": checkpoint.parameters, "optimiser": checkpoint.optimiser, "best": checkpoint.best}
    groups |= {f"finished/{index}": arrays for index, (_, arrays) in enumerate(checkpoint.finished)}
    tensors = {
        f"{group}/{index:05}": np.asarray(array, order="C")
        for group, arrays in groups.items()
        for index, array in enumerate(arrays)
    }
    state = _State(FORMAT, dict(run), checkpoint.record, tuple(record for record, _ in checkpoint.finished))
    header = {"state": msgspec.json.encode(state).decode(), "sha256": _digest(tensors)}
    with whole_file(folder / FILE) as temporary:
        temporary.write_bytes(save(tensors, header))


def read_checkpoint(folder: Path, run: Mapping[str, str]) -> Checkpoint | None:
    """The checkpoint in the folder, `None` where there is none.

    Raises `DataError` for a damaged one, `ConfigError` for one of another run, saying what differs.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "numpy") as file:
            header = file.metadata() or {}
            tensors: dict[str, NDArray[Any]] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
        state = _STATE.decode(header["state"])
    except (SafetensorError, msgspec.DecodeError, KeyError) as error:
        raise DataError(f"{path} is damaged or no checkpoint ({error}); remove it to begin anew") from None
    if state.format != FORMAT or header.get("sha256") != _digest(tensors):
        raise DataError(f"{path} is damaged, or of another version; remove it to begin anew")
    differing = [
        f"{name} was {state.run.get(name, 'not there')}, is {run.get(name, 'not there')}"
        for name in sorted(state.run.keys() | run.keys())
        if state.run.get(name) != run.get(name)
    ]
    if differing:
        raise ConfigError(
            f"{path} is of another run: {'; '.join(differing)}. Train with what it began with, or begin anew (--restart)"
        )
    groups: dict[str, Arrays] = {}
    for name in sorted(tensors):
        groups.setdefault(name.rpartition("/")[0], []).append(tensors[name])
    return Checkpoint(
        state.record,
        groups.get("parameters", []),
        groups.get("optimiser", []),
        groups.get("best", []),
        tuple((record, groups[f"finished/{index}"]) for index, record in enumerate(state.finished)),
    )


def forget_checkpoint(folder: Path) -> None:
    """Remove the checkpoint, and the folder where nothing else is in it."""
    (folder / FILE).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()
