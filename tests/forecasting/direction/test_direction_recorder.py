"""The forecaster's files: whole lines whatever happens, one writer, a file a day, and a disk that may be full."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from direction_kit import START_S, minute

from crypy.domain.errors import ConfigError, DataError
from crypy.forecasting.direction.facts import fact_of
from crypy.forecasting.direction.record_lines import candle_lines, fact_lines
from crypy.forecasting.direction.recorder import Recorder, files_of, last_starts
from crypy.forecasting.direction.records import CandleRecord, candle_record


def candles(first: int, stop: int) -> list[CandleRecord]:
    return [candle_record(minute(number)) for number in range(first, stop)]


def numbers(folder: Path) -> list[int]:
    return [(line.record.ts_start // 1_000 - START_S) // 60 for line in candle_lines(folder)]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file can grow past so many bytes: what a full disk does to a write, in part or whole."""
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)


def fill(path: Path) -> None:
    """Take all the room there is."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 512):
            pass


def test_a_line_is_the_specification_s(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        recorder.add([candle_record(minute(0)), fact_of("BTCUSDT", 60, START_S, 100.0, 100.5)])
        assert recorder.flush().written == 2
        text = (tmp_path / "candles.jsonl").read_text("utf-8")
        fact = msgspec.json.decode((tmp_path / "facts.jsonl").read_bytes())
    assert text.endswith("}\n")
    assert msgspec.json.decode(text) == {
        "symbol": "BTCUSDT", "timeframe": "1m", "ts_start": START_S * 1_000, "ts_end": START_S * 1_000 + 59_999, "o": 100.75,
        "h": 101.5, "l": 100.5, "c": 101.0, "volume": 1.0, "turnover": 101.0, "confirmed": True,
    }  # fmt: skip
    assert set(fact) == {
        "symbol", "timeframe", "prev_ts", "candle_ts", "close_prev", "close_curr", "delta", "ret_bps", "direction"
    }  # fmt: skip


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_torn_last_line_is_cut_off_and_nothing_else_is_lost(tmp_path: Path, cut: int) -> None:
    with Recorder(tmp_path) as recorder:
        recorder.add(candles(0, 5))
    path = tmp_path / "candles.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert numbers(tmp_path) == [0, 1, 2, 3], "a line without its end is not there"
    with Recorder(tmp_path) as recorder:
        assert recorder.status().torn_bytes > 0
        recorder.add(candles(4, 7))
    assert numbers(tmp_path) == [0, 1, 2, 3, 4, 5, 6]


def test_a_new_day_begins_a_new_file(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        for first in range(1_430, 1_450, 5):
            recorder.add(candles(first, first + 5))
            recorder.flush()
        # A correction of the day before stands where it is written.
        recorder.add([msgspec.structs.replace(candle_record(minute(1_435)), corrected=True)])
        recorder.add([fact_of("BTCUSDT", 60, START_S, 1.0, 2.0)])
    assert [path.name for path in files_of(tmp_path, "candles")] == ["candles-2025-01-01.jsonl", "candles.jsonl"]
    assert [path.name for path in files_of(tmp_path, "facts")] == ["facts.jsonl"]
    assert numbers(tmp_path) == [*range(1_430, 1_450), 1_435]
    with Recorder(tmp_path) as recorder:
        recorder.add(candles(1_450, 1_451))
    assert len(files_of(tmp_path, "candles")) == 2, "after a restart the current file's day is known"


def test_a_large_file_is_put_aside(tmp_path: Path) -> None:
    with Recorder(tmp_path, most_bytes=1_000) as recorder:
        for number in range(30):
            recorder.add(candles(number, number + 1))
            recorder.flush()
    names = [path.name for path in files_of(tmp_path, "candles")]
    assert names[:3] == ["candles-2025-01-01.jsonl", "candles-2025-01-01.2.jsonl", "candles-2025-01-01.3.jsonl"]
    assert names[-1] == "candles.jsonl"
    assert all(path.stat().st_size < 1_500 for path in files_of(tmp_path, "candles"))
    assert numbers(tmp_path) == list(range(30))


def test_a_full_disk_keeps_lines_in_memory_and_the_file_whole(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        recorder.add(candles(0, 5))
        recorder.flush()
        size = (tmp_path / "candles.jsonl").stat().st_size
        with room_for(size + 250):
            recorder.add(candles(5, 10))
            told = recorder.flush()
            assert "cannot be written" in told.fault
            assert (told.written, told.waiting, told.lost) == (5, 5, 0)
            assert (tmp_path / "candles.jsonl").stat().st_size == size, "what was written in part is taken back"
            recorder.add(candles(10, 12))
            assert recorder.flush().waiting == 7
        told = recorder.flush()
        assert (told.written, told.waiting, told.fault) == (12, 0, "")
    assert numbers(tmp_path) == list(range(12))


def test_what_waits_is_bounded_and_what_is_given_up_is_counted(tmp_path: Path) -> None:
    with Recorder(tmp_path, most_waiting=10) as recorder:
        with room_for(1):
            recorder.add(candles(0, 8))
            recorder.flush()
            recorder.add(candles(8, 14))
            told = recorder.flush()
            assert (told.waiting, told.lost) == (10, 4)
        recorder.flush()
    assert numbers(tmp_path) == list(range(4, 14)), "the newest are kept"


@pytest.mark.slow
def test_a_full_file_system_loses_nothing(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        with Recorder(place) as recorder:
            recorder.add(candles(0, 10))
            assert not recorder.flush().fault
            filler = place / "filler"
            fill(filler)
            recorder.add(candles(10, 200))
            assert "No space" in recorder.flush().fault
            filler.unlink()
            assert not recorder.flush().fault
        assert numbers(place) == list(range(200))
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def test_one_process_writes_a_folder(tmp_path: Path) -> None:
    with Recorder(tmp_path), pytest.raises(ConfigError, match="already running"), Recorder(tmp_path):
        pass
    with Recorder(tmp_path):
        pass


def test_a_line_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "facts.jsonl").write_text('{"symbol": 1}\n')
    with pytest.raises(DataError, match=r"facts\.jsonl, line 1"), Recorder(tmp_path):
        pass
    with pytest.raises(DataError, match="line 1"):
        list(fact_lines(tmp_path))
    (tmp_path / "facts.jsonl").unlink()
    with Recorder(tmp_path):
        pass


def test_the_last_candle_of_each_symbol_and_timeframe_is_read_back(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        recorder.add(candles(1_430, 1_445))
        recorder.add([candle_record(minute(1_441, "ETHUSDT"))])
    found = last_starts(tmp_path, "candles")
    assert found == {("BTCUSDT", 60): (START_S + 1_444 * 60) * 1_000, ("ETHUSDT", 60): (START_S + 1_441 * 60) * 1_000}
    assert last_starts(tmp_path, "predictions") == {}


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_whole_lines(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from direction_kit import minute
        from crypy.forecasting.direction.recorder import Recorder, last_starts
        from crypy.forecasting.direction.records import candle_record
        from direction_kit import START_S
        folder = Path(sys.argv[1])
        with Recorder(folder, most_bytes=20_000) as recorder:
            last = last_starts(folder, "candles").get(("BTCUSDT", 60))
            number = 0 if last is None else (last // 1000 - START_S) // 60 + 1
            while True:
                recorder.add([candle_record(minute(number))])
                recorder.flush()
                print(number, flush=True)
                number += 1
    """)
    said = -1
    for lines in (3, 40, 7, 90):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for _ in range(lines):
            said = int(child.stdout.readline())
        child.kill()
        rest = child.stdout.read().split()
        said = int(rest[-1]) if rest else said
        child.stdout.close()
        child.wait()
        found = numbers(tmp_path)
        assert found == list(range(len(found))), "each once, in order"
        assert len(found) >= said + 1, "what was said to be written is there"
