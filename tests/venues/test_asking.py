"""One door to REST: a pace for all, and silence for all where the venue wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from crypy.domain.errors import Unavailable
from crypy.domain.ports import HttpResponse
from crypy.testing.jumping import JumpingClock, run_jumping
from crypy.venues.asking import Asking, RequestPace, Spacing


class Rest:
    """Answers in the order of the script, the last one for ever; notes when it was asked, and with what headers."""

    def __init__(self, clock: JumpingClock, *answers: float | None) -> None:
        """A number: busy, come back in so many seconds. `None`: fine."""
        self.asked_s: list[float] = []
        self.headers: list[Mapping[str, str] | None] = []
        self._clock = clock
        self._answers = list(answers)

    async def request(self, *_: Any, headers: Mapping[str, str] | None = None, **__: Any) -> HttpResponse:
        self.asked_s.append(self._clock.elapsed_us / 1e6)
        self.headers.append(headers)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is not None:
            raise Unavailable("busy", answer)
        return HttpResponse(200, {}, b"fine")


def played(act: Callable[[JumpingClock, Asking, Rest], Any], *answers: float | None, pace: Any = 0.0) -> Rest:
    async def main(clock: JumpingClock) -> Rest:
        rest = Rest(clock, *answers)
        await act(clock, Asking(rest, clock, pace), rest)  # type: ignore[arg-type]
        return rest

    return run_jumping(main)


def body(response: HttpResponse) -> bytes:
    return response.body


def test_a_wait_that_the_venue_names_to_one_silences_all() -> None:
    async def act(clock: JumpingClock, asking: Asking, rest: Rest) -> None:
        with pytest.raises(Unavailable):
            await asking.once("u", {}, body)
        with pytest.raises(Unavailable, match="30 s of silence") as caught:
            await asking.once("u", {}, body)
        assert caught.value.retry_after_s == pytest.approx(30.0)
        # Who is patient waits for the end of it.
        assert await asking.get("u", {}, body) == b"fine"

    rest = played(act, 30.0, None)
    assert rest.asked_s == pytest.approx([0.0, 30.0], abs=1e-3)


def test_who_waits_for_his_turn_when_a_ban_comes_does_not_ask() -> None:
    async def act(clock: JumpingClock, asking: Asking, rest: Rest) -> None:
        answers = await asyncio.gather(*(asking.get("u", {}, body) for _ in range(3)))
        assert answers == [b"fine"] * 3

    rest = played(act, 60.0, None, pace=Spacing(5.0))
    assert rest.asked_s[0] == 0.0
    assert rest.asked_s[1] >= 60.0
    assert len(rest.asked_s) == 4


def test_a_request_without_a_second_try_carries_its_headers_and_does_not_try_again() -> None:
    async def act(clock: JumpingClock, asking: Asking, rest: Rest) -> None:
        with pytest.raises(Unavailable):
            await asking.once("u", {}, body, {"X": "1"})
        await clock.sleep(2.0)
        assert await asking.once("u", {}, body, {"X": "1"}) == b"fine"
        assert asking.requests == 2

    rest = played(act, 1.0, None)
    assert rest.headers == [{"X": "1"}] * 2


@pytest.mark.parametrize("pace", [0.5, Spacing(0.5), RequestPace(2, 1.0)])
def test_requests_keep_any_pace(pace: Any) -> None:
    async def act(clock: JumpingClock, asking: Asking, rest: Rest) -> None:
        for _ in range(6):
            await asking.once("u", {}, body)

    asked_s = played(act, None, pace=pace).asked_s
    assert all(later - earlier >= 1.0 - 1e-6 for earlier, later in zip(asked_s, asked_s[2:], strict=False))
    assert asked_s[-1] <= 2.5 + 1e-3
