"""Bytes to lines, whatever client sends them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.runtime.telnet import Control, LineDecoder, encode_lines


@pytest.mark.parametrize(
    ("sent", "lines"),
    [
        (b"status\n", ["status"]),
        (b"status\r\n", ["status"]),
        (b"status\r\0get\r\n", ["status", "get"]),
        (b"status\rget\r", ["status", "get"]),
        (b"\r\n\r\n\n", ["", "", ""]),
        (b"half", []),
        ("set note grün €\r\n".encode(), ["set note grün €"]),
        (b"a\xfeb\n", ["a�b"]),
        (b"a\x1b[A\x07b\tc\n", ["a[Ab\tc"]),
        (b"\x04", [Control.END]),
        (b"\xff\xec", [Control.END]),
        (b"half\xff\xf4status\r\n", [Control.INTERRUPT, "status"]),
        (b"x\xff\xffy\n", ["x�y"]),
        (b"st\xff\xfa\x18\x00VT100\r\n\xff\xff\xff\xf0atus\n", ["status"]),
    ],
)
def test_lines_come_out_whatever_ends_them_and_whatever_is_between(sent: bytes, lines: list[object]) -> None:
    assert LineDecoder().receive(sent) == lines


def test_everything_a_client_asks_for_is_refused() -> None:
    decoder = LineDecoder()
    assert decoder.receive(b"\xff\xfd\x01\xff\xfb\x1f\xff\xfe\x03\xff\xfc\x03") == []
    assert decoder.to_send() == b"\xff\xfc\x01\xff\xfe\x1f"
    assert decoder.to_send() == b""


def test_a_line_above_the_limit_is_reported_and_its_bytes_are_not_kept() -> None:
    decoder = LineDecoder(max_line=8)
    assert decoder.receive(b"12345678\n123456789\nok\n") == ["12345678", Control.TOO_LONG, "ok"]
    decoder.receive(b"x" * 100_000)
    assert len(decoder._line) <= 8


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_how_the_bytes_are_cut_makes_no_difference(chunks: list[bytes]) -> None:
    pieces, whole, single = LineDecoder(max_line=16), LineDecoder(max_line=16), LineDecoder(max_line=16)
    data = b"".join(chunks)
    by_chunk = [line for chunk in chunks for line in pieces.receive(chunk)]
    by_byte = [line for byte in data for line in single.receive(bytes([byte]))]
    assert by_chunk == by_byte == whole.receive(data)
    assert pieces.to_send() == single.to_send() == whole.to_send()


def test_lines_go_out_with_carriage_returns_once() -> None:
    assert encode_lines("a\nb\r\n") == b"a\r\nb\r\n"
