"""Our side of one connection to the public stream: topics asked for, pings, and what is still unanswered. Pure.

One command is under way at a time, so that each answer belongs to it for certain. The venue does all topics of a command or none:
a refused command is repeated topic by topic, so that one wrong symbol costs only itself; what is refused alone stays refused for the
connection, with the venue's reason. A topic that the venue says we have already is one we have (ccxt issue 30284, 2026-09).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Literal

from crypy.domain.errors import Unreadable
from crypy.domain.times import US_PER_S
from crypy.venues.bybit.capabilities import BYBIT
from crypy.venues.bybit.protocol import Answer, Event, Pong, PublicStream, Topic, command, ping

_Op = Literal["subscribe", "unsubscribe"]


class PublicSession:
    """Frames in by `receive`, frames out by `to_send`. It outlives connections: `opened` and `lost` tell it of them.

    `heard_us` is when anything came last, `data_us` an event of a topic, `pong_us` the answer to a ping.
    """

    def __init__(self, wanted: Sequence[Topic], topics_per_request: int = BYBIT.topics_per_request) -> None:
        self.refused: dict[str, str] = {}
        self.subscribed: set[str] = set()
        self.heard_us = self.data_us = self.pong_us = 0
        self._names = [topic.name for topic in wanted]
        self._stream = PublicStream(wanted)
        self._most = topics_per_request
        self._open = False
        self._numbers = 0
        self._queue: deque[tuple[_Op, tuple[str, ...]]] = deque()
        self._asked: tuple[_Op, tuple[str, ...], str, int] | None = None
        self._outbox: list[bytes] = []

    def opened(self, now_us: int) -> None:
        """A connection is there: ask for everything."""
        self.lost()
        self._open = True
        self.refused = {}
        self.heard_us = self.data_us = self.pong_us = now_us
        self._queue.extend(
            ("subscribe", tuple(self._names[at : at + self._most])) for at in range(0, len(self._names), self._most)
        )
        self._ask(now_us)

    def lost(self) -> None:
        """The connection has ended, and all that was asked on it."""
        self._open = False
        self.subscribed = set()
        self._queue.clear()
        self._asked = None
        self._outbox = []

    def renew(self, names: Iterable[str], now_us: int) -> None:
        """Drop topics and ask for them again: the venue then begins them with a snapshot."""
        again = tuple(name for name in names if name in self.subscribed)
        if self._open and again:
            self._queue.extend((("unsubscribe", again), ("subscribe", again)))
            self._ask(now_us)

    def ping(self) -> None:
        """Show that we are there."""
        if self._open:
            self._outbox.append(ping(self._request_id()))

    def overdue(self, now_us: int, answer_s: float) -> str:
        """The command that the venue has not answered for so long, in words; empty if there is none."""
        if self._asked is None or now_us - self._asked[3] < answer_s * US_PER_S:
            return ""
        return f"no answer to {self._asked[0]} {', '.join(self._asked[1])} for {answer_s:g} s"

    def to_send(self) -> list[bytes]:
        """The frames to send now, in order; they are handed out once."""
        frames, self._outbox = self._outbox, []
        return frames

    def receive(self, frame: bytes | memoryview, at_us: int) -> tuple[Event, ...]:
        """The market events in a frame; answers are dealt with here. Raises `Unreadable` for rubbish."""
        events = self._stream.receive(frame, at_us)
        self.heard_us = at_us
        if len(events) == 1:
            event = events[0]
            if isinstance(event, Answer):
                self._answered(event, at_us)
                return ()
            if isinstance(event, Pong):
                self.pong_us = at_us
                return ()
        self.data_us = at_us
        return events

    def _answered(self, answer: Answer, at_us: int) -> None:
        if self._asked is None:
            raise Unreadable(f"Bybit's stream: an answer to {answer.op} {answer.request_id}, which nobody sent")
        op, names, request_id, _ = self._asked
        if answer.op != op or answer.request_id not in ("", request_id):
            raise Unreadable(
                f"Bybit's stream: an answer to {answer.op} {answer.request_id} instead of {op} {request_id}"
            )
        self._asked = None
        if op == "unsubscribe":
            self.subscribed -= set(names)
        elif not answer.fault or (len(names) == 1 and "already subscribed" in answer.fault):
            self.subscribed |= set(names)
        elif len(names) == 1:
            self.refused[names[0]] = answer.fault
        else:
            self._queue.extendleft(("subscribe", (name,)) for name in reversed(names))
        self._ask(at_us)

    def _ask(self, now_us: int) -> None:
        """Send the next command, if none is under way."""
        if self._asked is None and self._queue:
            op, names = self._queue.popleft()
            request_id = self._request_id()
            self._asked = (op, names, request_id, now_us)
            self._outbox.append(command(op, names, request_id))

    def _request_id(self) -> str:
        self._numbers += 1
        return str(self._numbers)
