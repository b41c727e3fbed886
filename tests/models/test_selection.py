"""One sequence serves several models: each finds in it the bits that a sequence of its own would hold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError, Incomplete, SchemaMismatch
from crypy.marketdata.bars import Bars
from crypy.marketdata.ring import Ring
from crypy.marketdata.schema import CHANNELS, Block, FeatureSchema, FeatureSequence
from crypy.marketdata.sequence import sequence_from_rings
from crypy.marketdata.training_windows import windows_from_rings
from crypy.models.selection import select, select_windows, union

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
BLOCKS = st.builds(
    Block,
    st.sampled_from([60, 300, 900]),
    st.integers(1, 9),
    st.lists(st.sampled_from(CHANNELS), min_size=1, unique=True).map(tuple),
)
SCHEMAS = st.builds(
    FeatureSchema,
    st.lists(st.sampled_from(SYMBOLS), min_size=1, unique=True).map(tuple),
    st.just(60),
    st.lists(BLOCKS, min_size=1, max_size=3, unique_by=lambda block: block.step_s).map(tuple),
    st.just(True),
)


@pytest.fixture(scope="module")
def rings(make_market: Callable[..., Bars]) -> dict[str, Ring]:
    return {symbol: Ring.of(make_market(0.3, seed, symbol=symbol), (60,)) for seed, symbol in enumerate(SYMBOLS)}


def cells(sequence: FeatureSequence) -> list[bytes]:
    return [part.tobytes() for part in (*sequence.values, *sequence.known, *sequence.clocks, sequence.close)]


@given(schemas=st.lists(SCHEMAS, min_size=1, max_size=3), minutes=st.integers(1, 400))
def test_each_model_finds_its_own_bits(rings: dict[str, Ring], schemas: list[FeatureSchema], minutes: int) -> None:
    whole = union(schemas)
    end_s = rings["BTCUSDT"].first * 60 + minutes * 60
    large = sequence_from_rings(rings, end_s, whole)
    batch = windows_from_rings(rings, whole, [end_s, end_s - 60])
    for schema in schemas:
        own = sequence_from_rings(rings, end_s, schema)
        assert select(large, schema).schema == schema
        assert cells(select(large, schema)) == cells(own)
        assert cells(select_windows(batch, schema)[0]) == cells(own)
    assert union([whole, *schemas]) == whole


def test_a_block_inside_another_is_not_made_twice() -> None:
    long = Block(60, 100, ("returns", "range"))
    short = Block(60, 5, ("range",))
    swapped = Block(60, 100, ("range", "returns"))
    found = union([FeatureSchema(("A",), 60, (short,)), FeatureSchema(("B", "A"), 60, (long, swapped))])
    assert found == FeatureSchema(("A", "B"), 60, (long,))


def test_what_is_not_in_there_is_refused(rings: dict[str, Ring]) -> None:
    schema = FeatureSchema(("BTCUSDT",), 60, (Block(60, 5, ("returns",)),))
    sequence = sequence_from_rings(rings, rings["BTCUSDT"].end_s, schema)
    for other in (
        FeatureSchema(("ETHUSDT",), 60, schema.blocks),
        FeatureSchema(("BTCUSDT",), 300, schema.blocks),
        FeatureSchema(("BTCUSDT",), 60, (Block(60, 6, ("returns",)),)),
        FeatureSchema(("BTCUSDT",), 60, (Block(60, 5, ("range",)),)),
    ):
        with pytest.raises(SchemaMismatch, match="union"):
            select(sequence, other)
    with pytest.raises(ConfigError, match="base step"):
        union([schema, FeatureSchema(("BTCUSDT",), 300, schema.blocks)])


def test_missing_history_is_refused_for_the_model_that_insists(rings: dict[str, Ring]) -> None:
    insists = FeatureSchema(("BTCUSDT",), 60, (Block(60, 5, ("returns",)),))
    allows = FeatureSchema(("BTCUSDT",), 60, (Block(60, 50, ("returns",)),), allow_missing=True)
    start_s = rings["BTCUSDT"].first * 60
    for minutes, whole in ((4, False), (30, True)):
        sequence = sequence_from_rings(rings, start_s + minutes * 60, union([insists, allows]))
        windows = windows_from_rings(rings, union([insists, allows]), [start_s + minutes * 60])
        if whole:
            assert select(sequence, insists).known[0].all()
            continue
        for cut, source in ((select, sequence), (select_windows, windows)):
            with pytest.raises(Incomplete, match="BTCUSDT"):
                cut(source, insists)


def test_nothing_is_copied_where_all_is_wanted(rings: dict[str, Ring]) -> None:
    schema = FeatureSchema(SYMBOLS, 60, (Block(60, 5, ("returns", "range")), Block(300, 5, ("range",))))
    sequence = sequence_from_rings(rings, rings["BTCUSDT"].end_s, schema)
    assert select(sequence, schema) is sequence
    first = select(sequence, FeatureSchema(SYMBOLS, 60, schema.blocks[:1]))
    assert np.shares_memory(first.values[0], sequence.values[0])
