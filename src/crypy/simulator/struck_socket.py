"""A client's websocket at a simulated venue, and what the faults in force do to its events. What is said on it is the venue's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from picows import WSCloseCode, WSListener, WSMsgType, WSTransport

from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S
from crypy.simulator.faults import FRAME_FAULTS, Faults

_FOR_EVER_US: Final = 1 << 62


class Later(Protocol):
    """Sends a frame after that many of the clock's seconds."""

    def __call__(self, delay_s: float, socket: StruckSocket, data: bytes, /) -> None: ...


class StruckSocket(WSListener):
    """A connection of `target`. Faults strike events (`send_event`), and a stalled line is silent to everything (`send`)."""

    def __init__(self, clock: Clock, faults: Faults, target: str, rubbish: bytes, later: Later) -> None:
        super().__init__()
        self._clock, self._faults, self._target = clock, faults, target
        self._rubbish, self._later = rubbish, later
        self._transport: WSTransport | None = None
        self._silent_until_us = 0
        self._held: bytes | None = None

    @property
    def pending_bytes(self) -> int:
        """What has been written and not yet taken by the socket."""
        return 0 if self._transport is None else self._transport.underlying_transport.get_write_buffer_size()

    def send(self, data: bytes) -> None:
        """Write one text frame, unless the connection is gone or stalled."""
        if self._transport is not None and self._clock.now_us() >= self._silent_until_us:
            self._transport.send(WSMsgType.TEXT, data)

    def send_event(self, subject: str, data: bytes, draft: Callable[[], bytes] | None = None) -> None:
        """Write an event, or do to it what the faults in force say; `subject` is what they match.

        `draft` makes what a venue might have told first where it corrects the event later; without one nothing is corrected.
        """
        fault = self._faults.pick(self._target, FRAME_FAULTS if draft is None else FRAME_FAULTS | {"correct"}, subject)
        if fault is None:
            self.send(data)
            if self._held is not None:
                held, self._held = self._held, None
                self.send(held)
            return
        match fault.kind:
            case "duplicate":
                self.send(data)
                self.send(data)
            case "delay":
                self._later(fault.delay_s, self, data)
            case "correct":
                assert draft is not None  # else it is not picked
                self.send(draft())
                self._later(fault.delay_s, self, data)
            case "reorder":
                if self._held is not None:
                    self.send(self._held)
                self._held = data
            case "rubbish":
                self.send(self._rubbish)
            case "stall":
                wait_us = int(fault.delay_s * US_PER_S) or _FOR_EVER_US
                self._silent_until_us = self._clock.now_us() + wait_us
            case "close":
                self.close(1001, "fault injected")
            case "close_mid_frame":
                self._tear(data)
            case _:
                # drop: the event is never sent.
                pass

    def close(self, code: int, reason: str) -> None:
        """Say goodbye and hang up."""
        if self._transport is not None:
            self._transport.send_close(WSCloseCode(code), reason.encode())
            self._transport.disconnect()

    def abort(self) -> None:
        """Hang up without a word."""
        if self._transport is not None:
            self._transport.underlying_transport.abort()

    def _tear(self, data: bytes) -> None:
        """Write the head of a frame and half of its body, and cut the line."""
        if self._transport is None:
            return
        size, raw = len(data), self._transport.underlying_transport
        if size < 126:
            head = bytes([0x81, size])
        elif size < 1 << 16:
            head = bytes([0x81, 126]) + size.to_bytes(2, "big")
        else:
            head = bytes([0x81, 127]) + size.to_bytes(8, "big")
        raw.write(head + data[: size // 2])
        raw.close()
        # Until all is flushed the line takes more, and would make the torn frame whole with it.
        self._transport = None
