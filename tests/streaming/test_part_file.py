"""The unfinished file: whose it is, and that it is a file."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from platform_http.streaming import DownloadInProgressError
from platform_http.streaming.disk import BLOCK
from platform_http.streaming.part_file import Origin, PartFile


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


class Crash(BaseException):
    """The process is gone: nothing after it is done, and the kernel gives the lock back."""


# What changes what is on the disk.
STEPS = ["ftruncate", "fsync", "unlink", "open", "write", "rename", "replace", "fchmod"]


def crash_before(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process end before its change number *step* of the disk."""
    left = itertools.count(step, -1)

    def wrap(function: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object, **named: object) -> object:
            if next(left) == 0:
                raise Crash
            return function(*arguments, **named)

        return counted

    for name in STEPS:
        monkeypatch.setattr(os, name, wrap(getattr(os, name)))


def test_whatever_step_is_the_last_one_no_bytes_are_under_a_description_of_others(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = Origin("u", '"1"', 4), Origin("u", '"2"', 4)
    bodies = {'"1"': b"abcd", '"2"': b"ABCD"}
    for step in itertools.count():
        before = PartFile(target)
        before.open()
        before.begin(old)
        before.append([b"abc"], None)
        before.close()
        target.write_bytes(b"before")

        part = PartFile(target)
        with monkeypatch.context() as patched:
            crash_before(step, patched)
            try:
                part.open()
                part.begin(new)
                part.append([b"AB"], None)
                part.append([b"CD"], None)
                part.finish()
            except Crash:
                finished = False
            else:
                finished = True
        part.close()

        assert target.read_bytes() in (b"before", b"ABCD")
        after = PartFile(target)
        after.open()
        origin = after.load()
        if origin is not None:
            assert bodies[origin.validator].startswith(after.path.read_bytes())
        after.discard()
        assert list(target.parent.iterdir()) == [target]
        if finished:
            assert target.read_bytes() == b"ABCD"
            break
    # Fewer would mean that something is done another way, and is not looked at.
    assert step >= 9


def test_a_file_keeps_its_permissions(target: Path) -> None:
    target.touch(0o600)
    part = PartFile(target)
    part.open()
    part.append([b"secret"], None)
    assert part.path.stat().st_mode & 0o777 == 0o600
    part.finish()
    assert (target.stat().st_mode & 0o777, target.read_bytes()) == (0o600, b"secret")


def test_a_link_is_replaced_and_what_it_shows_to_is_not(target: Path) -> None:
    other = target.with_name("other")
    other.write_bytes(b"mine")
    target.symlink_to(other)
    part = PartFile(target)
    part.open()
    part.append([b"new"], None)
    part.finish()
    assert (target.is_symlink(), target.read_bytes(), other.read_bytes()) == (
        False,
        b"new",
        b"mine",
    )


def test_what_is_no_file_is_not_replaced(target: Path) -> None:
    target.symlink_to("/dev/null")
    with pytest.raises(FileExistsError, match="name another target"):
        PartFile(target).open()
    assert list(target.parent.iterdir()) == [target]


def test_a_link_in_place_of_the_description_is_not_followed(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, part = target.with_name("victim"), PartFile(target)
    victim.write_bytes(b"mine")
    sidecar = target.with_name("file.part.json")
    part.open()
    unlink = Path.unlink

    def unlink_and_lose(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        path.symlink_to(victim)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", unlink_and_lose)
        with pytest.raises(FileExistsError):
            part.begin(Origin("u", '"1"', 1))
    assert victim.read_bytes() == b"mine"
    sidecar.unlink()
    os.mkfifo(sidecar)
    part.append([b"x"], None)
    assert part.load() is None
    part.discard()


@pytest.mark.parametrize(
    "fault", [OSError(22, "Invalid argument"), OSError(5, "broken"), PermissionError(13, "no")]
)
def test_a_folder_that_cannot_be_synced_does_not_undo_what_is_done(
    target: Path, monkeypatch: pytest.MonkeyPatch, fault: OSError
) -> None:
    fsync, opened = os.fsync, os.open

    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise fault
        fsync(descriptor)

    def refuse(path: Path, flags: int, *mode: int) -> int:
        if isinstance(fault, PermissionError) and flags & os.O_DIRECTORY:
            raise fault
        return opened(path, flags, *mode)

    part = PartFile(target)
    part.open()
    part.begin(Origin("u", '"1"', 1))
    part.append([b"x"], None)
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "open", refuse)
    broken = fault.errno == 5
    with pytest.raises(OSError, match="broken") if broken else contextlib.nullcontext():
        part.finish()
    # It is in its place: nobody may say that a part of it is kept.
    assert not part.is_open
    assert list(target.parent.iterdir()) == [target]


def test_a_long_part_is_hashed_in_steps_between_which_one_can_cancel(target: Path) -> None:
    part, hasher = PartFile(target), hashlib.sha256()
    part.open()
    os.ftruncate(part._descriptor, 70 * BLOCK)
    assert part.hash_into(hasher, 0) == 64 * BLOCK
    assert part.hash_into(hasher, 64 * BLOCK) == 70 * BLOCK
    assert part.hash_into(hasher, 70 * BLOCK) == 70 * BLOCK
    assert hasher.hexdigest() == hashlib.sha256(bytes(70 * BLOCK)).hexdigest()
    part.discard()


def test_a_platform_without_locks_is_told_so_and_may_use_the_rest(target: Path) -> None:
    program = """
import asyncio, pathlib, sys
sys.modules["fcntl"] = None
from platform_http.streaming import iter_lines
from platform_http.streaming.part_file import PartFile
try:
    PartFile(pathlib.Path(sys.argv[1])).open()
except NotImplementedError as error:
    print(error)
"""
    run = [sys.executable, "-c", program, str(target)]
    told = subprocess.run(run, capture_output=True, check=True, text=True).stdout
    assert "the file locks of POSIX" in told
    assert list(target.parent.iterdir()) == []
