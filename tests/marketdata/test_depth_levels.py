"""Levels of venues' texts against JSON and `parse_e8`: the same numbers, and the same refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crypy.domain.errors import DataError
from crypy.domain.events import format_e8, parse_e8
from crypy.marketdata.depth_levels import read_levels

sizes = st.one_of(st.integers(0, 10**12), st.integers(0, 2**63 - 1))
as_sent = st.one_of(
    sizes.map(format_e8),
    sizes.map(lambda value: format_e8(value).rstrip("0").rstrip(".")),
    st.integers(0, 9 * 10**10).map(str),
    sizes.map(lambda value: "00" + format_e8(value) + "000"),
)
# Texts that are numbers nearly or not at all.
odd = st.text('0123456789.-+eE "\\,[]', max_size=24)
numbers = st.one_of(as_sent, odd)


def plainly(text: str) -> int:
    value = parse_e8(text)
    if value >= 2**63:
        raise DataError(f"{text} does not fit 64 bits")
    return value


@given(
    st.lists(st.tuples(as_sent, as_sent), max_size=12),
    st.sampled_from([(",", ":"), (", ", ": ")]),
    st.sampled_from([None, 1]),
)
def test_levels_are_what_json_and_the_exact_parser_say(
    levels: list[tuple[str, str]], separators: tuple[str, str], indent: int | None
) -> None:
    text = json.dumps(levels, separators=separators, indent=indent).encode()
    found = read_levels(text)
    assert found.tolist() == [[plainly(price), plainly(quantity)] for price, quantity in levels]
    assert (found.dtype, found.shape) == (np.int64, (len(levels), 2))


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=4))
@example([("92233720368.54775807", "92233720368.54775808")])
@example([("184467440737.09551616", "1")])
@example([("0.000000001", "1")])
@example([("", "1"), ("1", ".5")])
@example([("1.", "0")])
def test_a_number_is_refused_where_the_exact_parser_refuses_it(levels: list[tuple[str, str]]) -> None:
    # The letters stand in the text as they are: an escape is no way to write a number.
    text = "[" + ",".join(f'["{price}","{quantity}"]' for price, quantity in levels) + "]"
    try:
        plain = json.loads(text)
        wanted = [[plainly(price), plainly(quantity)] for price, quantity in plain]
        good = plain == [list(level) for level in levels]
    except (ValueError, TypeError, DataError, AttributeError):
        good, wanted = False, []
    if good:
        assert read_levels(text.encode()).tolist() == wanted
    else:
        with pytest.raises(DataError, match="no level of a book at byte"):
            read_levels(text.encode())


WHOLE = b'[["61837.63000000","3.78826000"],["61837.62000000","0.00000000"], [ "5" , "0.1" ] ]'


def test_a_text_cut_or_changed_anywhere_is_refused_whole() -> None:
    assert read_levels(WHOLE).tolist() == [
        [6_183_763_000_000, 378_826_000],
        [6_183_762_000_000, 0],
        [500_000_000, 10_000_000],
    ]
    for length in range(len(WHOLE)):
        with pytest.raises(DataError, match="no level of a book"):
            read_levels(WHOLE[:length])
    for tail in (b"x", b"]", b"\x00", b",", WHOLE):
        with pytest.raises(DataError, match="no level of a book"):
            read_levels(WHOLE + tail)
    for at in range(len(WHOLE)):
        changed = WHOLE[:at] + b"#" + WHOLE[at + 1 :]
        with pytest.raises(DataError, match="no level of a book"):
            read_levels(changed)


@given(st.binary(max_size=120))
def test_rubbish_is_refused_and_nothing_else_happens(data: bytes) -> None:
    try:
        found = read_levels(data)
    except DataError:
        return
    assert found.tolist() == [[plainly(price), plainly(quantity)] for price, quantity in json.loads(data)]


def test_any_view_of_bytes_is_read() -> None:
    for view in (WHOLE, bytearray(WHOLE), memoryview(WHOLE), memoryview(b"xx" + WHOLE + b"yy")[2:-2]):
        assert len(read_levels(view)) == 3
    for empty in (b"[]", memoryview(b"[]"), b"[ ]", b" []\n"):
        assert read_levels(empty).shape == (0, 2)
