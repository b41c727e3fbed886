"""The lines of a recording: when something was received, what it was, and its bytes as they came.

    1723161253937085000 {"stream":"btcusdt@trade","data":{...}}      a frame
    1723161253937085000:4711 {"stream": ...                          a frame that holds line ends: its length is told first
    1723161253937085000!sent {"method":"SUBSCRIBE",...}              something else; `!sent:4711 ` where it holds line ends

Times are nanoseconds since 1970 (of a clock of microseconds). A frame without a line end, which is every one that the
venues send, looks as it does in the recordings that others publish: those can be read here, and ours by their tools. The
words beside frames: `recording` (the head of each file, JSON), `opened` (URL), `closed` (the reason), `sent` (a frame that we
sent), `asked` (method, status and URL of an HTTP request) followed by `answer` (its body), `lost` (JSON: how much was not written
before this line, because the disk took none).

Frames are laid out by a compiled kernel: the thread that writes does not hold the interpreter while it works.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.runtime.kernels import kernel

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Line = tuple[int, str, bytes]

FRAME: Final = "frame"
NS_PER_US: Final = 1_000
_HEADER = re.compile(rb"(\d+)(?:!([a-z]+))?(?::(\d+))?")
_LONGEST_HEADER = 64
# Stamp, colon, length, blank and line end around a frame.
_MOST_AROUND = 48
_NEWLINE, _BLANK, _COLON, _ZERO = 10, 32, 58, 48


def line(received_us: int, word: str, payload: bytes) -> bytes:
    """One line, its end included; `word` is `frame` or one of those above."""
    mark = b"" if word == FRAME else b"!" + word.encode()
    length = b":%d" % len(payload) if b"\n" in payload else b""
    return b"%d000%b%b %b\n" % (received_us, mark, length, payload)


def frame_lines(data: bytearray, times_us: Sequence[int], ends: Sequence[int]) -> bytes:
    """The lines of frames that lie one behind the other in `data`: frame k ends at `ends[k]` and came at `times_us[k]`."""
    out = np.empty(len(data) + _MOST_AROUND * len(ends), np.uint8)
    length = _lay_out(np.frombuffer(data, np.uint8), np.array(times_us, np.int64), np.array(ends, np.int64), out)
    return out[:length].tobytes()


def warm_up() -> None:
    """Have the kernel compiled now and not when the first frames are written."""
    frame_lines(bytearray(b"-"), [0], [1])


def read_lines(data: bytes, where: str) -> Iterator[Line]:
    """(received ns, word, payload) of each line. Raises `DataError` naming `where` and the byte for what is no line.

    A last line without its end is taken as it is: others' recordings may lack it, and ours never do.
    """
    at = 0
    while at < len(data):
        blank = data.find(b" ", at, at + _LONGEST_HEADER)
        header = data[at:blank] if blank >= 0 else b""
        if header.isdigit():
            end = data.find(b"\n", blank)
            end = len(data) if end < 0 else end
            yield int(header), FRAME, data[blank + 1 : end]
        else:
            match = _HEADER.fullmatch(header)
            if match is None:
                raise DataError(f"{where}: no receive time at byte {at} of its lines: {data[at : at + 40]!r}")
            stamp, word, length = match.groups()
            end = data.find(b"\n", blank) if length is None else blank + 1 + int(length)
            if not blank < end < len(data) or data[end] != _NEWLINE:
                raise DataError(f"{where}: the line at byte {at} of its lines does not end where it says")
            yield int(stamp), FRAME if word is None else word.decode(), data[blank + 1 : end]
        at = end + 1


@kernel
def _lay_out(data: Bytes, times_us: Ints, ends: Ints, out: Bytes) -> int:
    """Write the lines of frames into `out`; how many bytes they are."""
    at = 0
    start = 0
    for row in range(len(ends)):
        end = ends[row]
        broken = False
        for position in range(start, end):
            if data[position] == _NEWLINE:
                broken = True
                break
        at = _number(times_us[row], out, at)
        for _ in range(3):
            out[at] = _ZERO
            at += 1
        if broken:
            out[at] = _COLON
            at = _number(end - start, out, at + 1)
        out[at] = _BLANK
        at += 1
        out[at : at + end - start] = data[start:end]
        at += end - start
        out[at] = _NEWLINE
        at += 1
        start = end
    return at


@kernel
def _number(value: int, out: Bytes, at: int) -> int:
    """Write a number that is not negative in decimal; where it ends."""
    digits = 1
    rest = value // 10
    while rest > 0:
        digits += 1
        rest //= 10
    rest = value
    for position in range(at + digits - 1, at - 1, -1):
        out[position] = _ZERO + rest % 10
        rest //= 10
    return at + digits
