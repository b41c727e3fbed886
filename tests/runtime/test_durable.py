"""Lines that outlive a crash: what a crash tore is no line, and is cut off before the next is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from crypy.runtime.durable import append_line, cut_torn_line, sync_path, whole_lines


def test_what_a_crash_tore_is_cut_and_whole_lines_stay(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    assert cut_torn_line(path) == 0
    assert whole_lines(path) == []
    append_line(path, b"one")
    assert cut_torn_line(path) == 0
    path.write_bytes(b"one\ntw")
    assert whole_lines(path) == [b"one"]
    assert cut_torn_line(path) == 2
    path.write_bytes(b"one\ntw")
    append_line(path, b"three")
    assert path.read_bytes() == b"one\nthree\n"
    assert whole_lines(path) == [b"one", b"three"]
    path.write_bytes(b"torn at once")
    assert cut_torn_line(path) == 12
    assert path.read_bytes() == b""


def test_files_and_folders_are_synced_and_what_is_not_there_is_told(tmp_path: Path) -> None:
    append_line(tmp_path / "lines", b"one")
    sync_path(tmp_path / "lines")
    sync_path(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_path(tmp_path / "nowhere")
