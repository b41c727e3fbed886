"""One sequence for several models: the schema that holds all of theirs, and the part of it that each asks for.

A block of a larger schema holds one of the same step that is no longer and has no other channels; its cells are the same bits, for a
window depends on its end and step alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, Incomplete, SchemaMismatch
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.schema import Block, FeatureSchema, FeatureSequence
from crypy.marketdata.training_windows import TrainingWindows

Ints = NDArray[np.int64]


def union(schemas: Sequence[FeatureSchema]) -> FeatureSchema:
    """The smallest schema found that holds each of these: their symbols in order of appearance, their blocks without repeats.

    It allows missing history where one of them does; `select` then refuses for those that do not. Raises `ConfigError` for none
    at all, or for several base steps.
    """
    steps = {schema.base_step_s for schema in schemas}
    if len(steps) != 1:
        raise ConfigError(f"one sequence serves models of one base step, these want {sorted(steps)} s")
    symbols = dict.fromkeys(symbol for schema in schemas for symbol in schema.symbols)
    blocks = list(dict.fromkeys(block for schema in schemas for block in schema.blocks))
    kept = [
        block
        for index, block in enumerate(blocks)
        # Blocks that differ in the order of their channels alone hold each other: the first stays.
        if not any(
            _holds(other, block) and (place < index or not _holds(block, other))
            for place, other in enumerate(blocks)
            if place != index
        )
    ]
    allow = any(schema.allow_missing for schema in schemas)
    return FeatureSchema(tuple(symbols), steps.pop(), tuple(kept), allow)


def select(sequence: FeatureSequence, schema: FeatureSchema) -> FeatureSequence:
    """The part of a sequence that a schema asks for, bit for bit what a sequence of that schema would hold.

    Raises `SchemaMismatch` where it is not in there, `Incomplete` where cells are unknown that the schema insists on.
    """
    if sequence.schema == schema:
        return sequence
    part = _part(sequence.schema, schema)
    cut = FeatureSequence(
        sequence.end_s,
        schema,
        tuple(
            np.ascontiguousarray(sequence.values[one.block][one.symbols, -one.length :][:, :, one.channels])
            for one in part
        ),
        tuple(np.ascontiguousarray(sequence.known[one.block][one.symbols, -one.length :]) for one in part),
        tuple(sequence.clocks[one.block][-one.length :] for one in part),
        sequence.close[part[0].symbols],
    )
    if not schema.allow_missing:
        _require_whole([known[None] for known in cut.known], np.array([sequence.end_s]), schema)
    return cut


def select_windows(windows: TrainingWindows, schema: FeatureSchema) -> TrainingWindows:
    """`select` of many sequences at once; the same errors, naming the first end that lacks something."""
    if windows.schema == schema:
        return windows
    part = _part(windows.schema, schema)
    cut = TrainingWindows(
        windows.ends_s,
        schema,
        tuple(
            np.ascontiguousarray(windows.values[one.block][:, one.symbols, -one.length :][:, :, :, one.channels])
            for one in part
        ),
        tuple(np.ascontiguousarray(windows.known[one.block][:, one.symbols, -one.length :]) for one in part),
        tuple(windows.clocks[one.block][:, -one.length :] for one in part),
        windows.close[:, part[0].symbols],
    )
    if not schema.allow_missing:
        _require_whole(cut.known, windows.ends_s, schema)
    return cut


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one block of the smaller schema lies in the larger one: slices where the cells are neighbours."""

    block: int
    length: int
    symbols: Ints | slice
    channels: Ints | slice


@lru_cache(maxsize=64)
def _part(larger: FeatureSchema, schema: FeatureSchema) -> tuple[_Place, ...]:
    missing = [symbol for symbol in schema.symbols if symbol not in larger.symbols]
    if missing or larger.base_step_s != schema.base_step_s:
        raise SchemaMismatch(
            f"a sequence of {', '.join(larger.symbols)} with base step {larger.base_step_s} s does not hold one of"
            f" {', '.join(schema.symbols)} with base step {schema.base_step_s} s; make it of `union` of both schemas"
        )
    symbols = _indices([larger.symbols.index(symbol) for symbol in schema.symbols])
    places: list[_Place] = []
    for block in schema.blocks:
        found = next((index for index, other in enumerate(larger.blocks) if _holds(other, block)), None)
        if found is None:
            raise SchemaMismatch(f"the sequence does not hold {block}; make it of `union` of both schemas")
        channels = _indices([larger.blocks[found].channels.index(channel) for channel in block.channels])
        places.append(_Place(found, block.length, symbols, channels))
    return tuple(places)


def _holds(larger: Block, block: Block) -> bool:
    return (
        larger.step_s == block.step_s and larger.length >= block.length and set(larger.channels) >= set(block.channels)
    )


def _indices(found: list[int]) -> Ints | slice:
    """A slice where the indices follow each other: then nothing is gathered."""
    if found == list(range(found[0], found[0] + len(found))):
        return slice(found[0], found[0] + len(found))
    return np.array(found, np.int64)


def _require_whole(known: Sequence[NDArray[np.bool_]], ends_s: Ints, schema: FeatureSchema) -> None:
    whole = np.logical_and.reduce([block.all(axis=2) for block in known])
    lacking = np.flatnonzero(~whole.all(axis=1))
    if not len(lacking):
        return
    first = int(lacking[0])
    symbols = tuple(symbol for symbol, is_whole in zip(schema.symbols, whole[first], strict=True) if not is_whole)
    raise Incomplete(
        f"at {iso(int(ends_s[first]) * US_PER_S)} not all of the {schema.history_s:,} s before are known of"
        f" {', '.join(symbols)}, and the schema that is asked for insists on them",
        symbols,
    )
