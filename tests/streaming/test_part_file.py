"""The unfinished file: whose it is, and that it is a file."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from platform_http.streaming import DownloadInProgressError
from platform_http.streaming.part_file import PartFile


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file"


def test_a_part_that_lost_its_name_before_the_lock_is_opened_anew(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, lock, calls = PartFile(target), fcntl.flock, 0

    def lock_late(descriptor: int, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            # Another download ends here, and its part takes its place.
            part.path.rename(target)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    part.open()
    part.append([b"x"], None)
    assert (calls, part.path.read_bytes(), target.read_bytes()) == (2, b"x", b"")
    part.close()


def test_a_part_that_always_loses_its_name_is_given_up(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, lock = PartFile(target), fcntl.flock

    def lock_late(descriptor: int, operation: int) -> None:
        part.path.unlink()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    with pytest.raises(DownloadInProgressError):
        part.open()
    assert not part.is_open


def test_a_lock_ends_with_its_holder(target: Path) -> None:
    first, second = PartFile(target), PartFile(target)
    first.open()
    with pytest.raises(DownloadInProgressError):
        second.open()
    first.close()
    second.open()
    second.discard()
    assert not second.path.exists()


def test_a_pipe_is_no_part(target: Path) -> None:
    part = PartFile(target)
    os.mkfifo(part.path)
    with pytest.raises(OSError, match="not a plain file"):
        part.open()
