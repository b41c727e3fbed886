"""Whatever is dropped, repeated and reordered: every id once and in order, or named as missing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.events import Trade
from crypy.venues.in_order import InOrder


def trade(id_: int) -> Trade:
    return Trade("BTCUSDT", id_, 1, 1, id_, id_, id_, False)


def joined(last: int | None, room: int = 50_000) -> InOrder[Trade]:
    return InOrder(lambda made: made.id, None if last is None else last + 1, room)


def pushed(join: InOrder[Trade], *ids: int) -> list[int]:
    return [ready.id for id_ in ids for ready in join.push(trade(id_))]


@given(
    ids=st.lists(st.integers(0, 40), max_size=80),
    last=st.none() | st.integers(0, 20),
    room=st.integers(1, 50),
    skips=st.sets(st.integers(0, 40)),
)
def test_ids_come_out_once_and_in_order_and_holes_are_filled_or_named(
    ids: list[int], last: int | None, room: int, skips: set[int]
) -> None:
    join = joined(last, room)
    out: list[int] = []
    lost: set[int] = set()
    for id_ in ids:
        out += pushed(join, id_)
        assert join.waiting <= room
    first = last + 1 if last is not None else ids[0] if ids else 0
    # The past gives every id but some; what is turned away for want of room is asked for again.
    for wanted in range(first, 41):
        if join.next_key is not None and wanted == join.next_key:
            if wanted in skips:
                lost.add(wanted)
                out += [ready.id for ready in join.skip_to(wanted + 1)]
            else:
                out += pushed(join, wanted)
    expected = range(first, 41) if last is not None or ids else range(0)
    assert out == sorted(set(out))
    assert set(out) | lost == set(expected)
    assert not set(out) & lost
    assert join.missing is None


def test_a_hole_is_named_by_its_ends() -> None:
    join = joined(9)
    assert join.missing is None
    assert pushed(join, 15, 12, 15) == []
    assert (join.missing, join.waiting, join.duplicates) == ((10, 11), 2, 1)
    assert pushed(join, 10, 11) == [10, 11, 12]
    assert join.missing == (13, 14)
    assert [ready.id for ready in join.skip_to(15)] == [15]
    assert (join.missing, join.next_key) == (None, 16)


def test_the_waiting_room_is_bounded_and_turns_away_what_can_be_asked_for_again() -> None:
    join = joined(0, 2)
    assert pushed(join, 5, 3, 9) == []
    assert (join.waiting, join.turned_away) == (2, 1)
    assert pushed(join, 1, 2, 4) == [1, 2, 3, 4, 5]
    assert pushed(join, 9) == []
    assert join.missing == (6, 8)
