"""Lines and blocks of a recording: what goes in comes out byte for byte, and what is torn is never believed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypy.domain.errors import DataError
from crypy.marketdata.recording_file import Block, Torn, append, cut, finish, packed, read_blocks
from crypy.marketdata.recording_lines import FRAME, frame_lines, line, read_lines

# Bytes that look like lines, lengths and stamps are the interesting ones.
PAYLOADS = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"", b"\n", b"\n\n", b" ", b"\r\n", b"17 x", b"x\n18 y\n", b"\n17:3 abc\n", b"!sent ", b"\x00\xff"]
    ),
)
STAMPS = st.integers(0, 2**53)
WORDS = st.sampled_from(["opened", "closed", "sent", "asked", "answer", "lost", "recording"])


def laid_out(frames: list[tuple[int, bytes]]) -> bytes:
    data, ends = bytearray(), list[int]()
    for _, payload in frames:
        data += payload
        ends.append(len(data))
    return frame_lines(data, [at_us for at_us, _ in frames], ends)


@given(st.lists(st.tuples(STAMPS, PAYLOADS), max_size=30))
def test_frames_of_any_bytes_come_back_as_they_went_in(frames: list[tuple[int, bytes]]) -> None:
    lines = laid_out(frames)
    assert list(read_lines(lines, "here")) == [(at_us * 1_000, FRAME, payload) for at_us, payload in frames]
    # The compiled form is the plain one, many at a time.
    assert lines == b"".join(line(at_us, FRAME, payload) for at_us, payload in frames)


@given(st.lists(st.tuples(STAMPS, st.one_of(WORDS, st.just(FRAME)), PAYLOADS), max_size=20))
def test_notes_of_any_bytes_stand_between_frames(lines: list[tuple[int, str, bytes]]) -> None:
    text = b"".join(line(at_us, word, payload) for at_us, word, payload in lines)
    assert list(read_lines(text, "here")) == [(at_us * 1_000, word, payload) for at_us, word, payload in lines]


def test_a_usual_frame_looks_as_in_recordings_of_others() -> None:
    assert line(1723161253937085, FRAME, b'{"a":1}') == b'1723161253937085000 {"a":1}\n'
    assert list(read_lines(b'1723161253937085768 {"a":1}', "here")) == [(1723161253937085768, FRAME, b'{"a":1}')]


@pytest.mark.parametrize(
    "text",
    [
        b"x 1\n",
        b"no stamp",
        b"17",
        b"-1 x\n",
        b"17!SENT x\n",
        b"17:x y\n",
        b"17:9 abc\n",
        b"17:2 abc\n",
        b"17!sent abc",
        b"\n",
    ],
)
def test_what_is_no_line_is_refused_with_its_place(text: bytes) -> None:
    with pytest.raises(DataError, match=r"here: .* at byte 5"):
        list(read_lines(b"16 a\n" + text, "here"))


def blocks_of(path: Path) -> list[bytes]:
    return [block.lines for block in read_blocks(path) if isinstance(block, Block)]


def torn_of(path: Path) -> list[tuple[int, int]]:
    return [(torn.start, torn.end) for torn in read_blocks(path) if isinstance(torn, Torn)]


TEXTS = [b"1000 first\n", b"", b"2000 second\n" * 40, b"3000 third\n"]


def test_a_tail_torn_at_every_byte_costs_only_its_block(tmp_path: Path) -> None:
    blocks = [packed(text) for text in TEXTS]
    whole, ends = b"".join(blocks), [0]
    for block in blocks:
        ends.append(ends[-1] + len(block))
    path = tmp_path / "a.zst.part"
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = sum(end <= length for end in ends[1:])
        assert blocks_of(path) == TEXTS[:kept]
        assert torn_of(path) == ([] if length == ends[kept] else [(ends[kept], length)])
        assert cut(path) == length - ends[kept]
        assert path.read_bytes() == whole[: ends[kept]]
        # What is appended afterwards is read with the rest.
        append(path, blocks[0], ends[kept]) if kept else None
        assert blocks_of(path) == TEXTS[:kept] + TEXTS[:1] * bool(kept)


@settings(max_examples=300)
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_only_its_block(at: int, bit: int) -> None:
    blocks = [packed(text) for text in TEXTS]
    spoilt = bytearray(b"".join(blocks))
    at %= len(spoilt)
    spoilt[at] ^= 1 << bit
    starts = [sum(map(len, blocks[:k])) for k in range(len(blocks))]
    hit = max(k for k, start in enumerate(starts) if start <= at)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.zst")
        path.write_bytes(spoilt)
        assert blocks_of(path) == [text for k, text in enumerate(TEXTS) if k != hit]
        assert torn_of(path) == [(starts[hit], starts[hit] + len(blocks[hit]))]


def test_rubbish_of_a_length_that_cannot_be_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.zst"
    path.write_bytes(packed(b"1000 a\n") + b"\x5c\x2a\x4d\x18" + b"\xff" * 40 + packed(b"2000 b\n") + b"\0" * 5_000)
    assert blocks_of(path) == [b"1000 a\n", b"2000 b\n"]
    assert len(torn_of(path)) == 2


def test_a_new_file_must_not_exist_and_one_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.zst.part"
    append(path, packed(b"1000 a\n"), 0)
    with pytest.raises(FileExistsError):
        append(path, packed(b"1000 b\n"), 0)
    assert blocks_of(path) == [b"1000 a\n"]
    assert finish(path) == tmp_path / "a.zst"
    with pytest.raises(FileNotFoundError):
        append(path, packed(b"1000 b\n"), 10)
    assert [one.name for one in tmp_path.iterdir()] == ["a.zst"]


@pytest.mark.skipif(shutil.which("zstdcat") is None, reason="zstdcat is not installed")
def test_the_usual_tool_shows_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.zst"
    path.write_bytes(b"".join(packed(text) for text in TEXTS))
    shown = subprocess.run(["zstdcat", str(path)], capture_output=True, check=True)
    assert shown.stdout == b"".join(TEXTS)
