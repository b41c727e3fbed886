"""Lines out of bytes, from a telnet client, `nc` or any raw socket alike.

No I/O here: bytes go in, lines come out, and whatever must be answered to the other side is kept in `to_send`.
A server that asks for nothing need not negotiate: telnet clients then send whole lines and echo them
themselves, exactly like `nc`. What a client asks for is refused (RFC 854, RFC 1143), so that it never waits for us. We chose this over a telnet
library because it shows its prompt at once: there is no terminal type to wait for.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
EOF_, SUSPEND, ABORT, BREAK, INTERRUPT = 236, 237, 238, 243, 244
_REFUSAL: Final[dict[int, int]] = {DO: WONT, WILL: DONT}


class Control(Enum):
    """What is no line of text."""

    END = "end"  # the client's Ctrl-D
    INTERRUPT = "interrupt"  # the client's Ctrl-C
    TOO_LONG = "too long"  # a line above the limit; its bytes are dropped


class LineDecoder:
    """Splits a byte stream into lines.

    A line ends with LF, CR LF, CR NUL or CR; bytes are UTF-8, with what is not replaced. Control characters other than tab
    are dropped. A line longer than `max_line` bytes is given as `Control.TOO_LONG`.

    >>> LineDecoder().receive(b"status\\r\\nhe\\xff\\xfd\\x06lp\\n")
    ['status', 'help']
    """

    def __init__(self, max_line: int = 4_096) -> None:
        self._max_line = max_line
        self._line = bytearray()
        self._too_long = False
        self._after_cr = False
        self._command: list[int] = []
        self._to_send = bytearray()

    def to_send(self) -> bytes:
        """What must go back to the client for what was received so far."""
        data = bytes(self._to_send)
        self._to_send.clear()
        return data

    def receive(self, data: bytes) -> list[str | Control]:
        """The lines that these bytes complete, in order."""
        found: list[str | Control] = []
        for byte in data:
            if self._command:
                self._negotiate(byte, found)
            elif byte == IAC:
                self._command.append(byte)
            else:
                self._text(byte, found)
        return found

    def _text(self, byte: int, found: list[str | Control]) -> None:
        second_half, self._after_cr = self._after_cr and byte in b"\n\0", byte == 13
        if second_half:
            return
        if byte in b"\r\n":
            found.append(Control.TOO_LONG if self._too_long else self._line.decode("utf-8", "replace"))
            self._line.clear()
            self._too_long = False
        elif byte == 4 and not self._line:
            found.append(Control.END)
        elif byte >= 32 or byte == 9:
            self._too_long = self._too_long or len(self._line) >= self._max_line
            if not self._too_long:
                self._line.append(byte)

    def _negotiate(self, byte: int, found: list[str | Control]) -> None:
        """One byte of a telnet command: IAC verb, IAC verb option, or IAC SB ... IAC SE."""
        command = self._command
        if len(command) > 1 and command[1] == SB:
            # Only the last byte matters for finding the end, so a subnegotiation needs no room.
            ended = command[-1] == IAC and byte == SE
            self._command = [] if ended else [IAC, SB, 0 if command[-1] == IAC else byte]
            return
        command.append(byte)
        if len(command) == 2 and byte in (SB, DO, DONT, WILL, WONT):
            return
        self._command = []
        verb = command[1]
        if verb in _REFUSAL:
            self._to_send += bytes((IAC, _REFUSAL[verb], command[2]))
        elif verb == IAC:
            self._text(IAC, found)
        elif verb == EOF_:
            found.append(Control.END)
        elif verb in (INTERRUPT, BREAK, ABORT, SUSPEND):
            self._line.clear()
            found.append(Control.INTERRUPT)


def encode_lines(text: str) -> bytes:
    """Text for the wire: CR LF between lines. UTF-8 never holds the byte 255, so nothing is escaped."""
    return text.replace("\r\n", "\n").replace("\n", "\r\n").encode()
