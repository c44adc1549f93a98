"""The unfinished file beside its target, and what must be known to continue it.

``name.part`` holds the bytes. ``name.part.json`` says of what: a hash of the URL, which may hold
secrets, and the validator of the response. Neither is touched while another download holds the
lock, which the kernel gives back when its process ends, whatever the end. POSIX only, and loaded
elsewhere: the rest of the package needs no files.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from platform_http.streaming.disk import BLOCK
from platform_http.streaming.errors import DownloadInProgressError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from platform_http.streaming.checksum import Hasher

_VERSION = 1
_MAX_SIDECAR = 16384

# A download that ended between our open and our lock leaves us with a file that has no name.
_OPENS = 16

# Blocks that are read at a time, a fraction of a second: nobody can cancel what a thread does.
_HASHED = 64


@dataclass(frozen=True, slots=True)
class Origin:
    """What the bytes of a part are bytes of.

    Args:
        url: A hash of the URL.
        validator: For ``If-Range``.
        total: Bytes of the whole file; ``None`` if not told.
    """

    url: str
    validator: str
    total: int | None


class PartFile:
    """The part of one target. All methods block; :meth:`close` is due after :meth:`open`.

    Args:
        target: Where the file is to be in the end.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        # Not with_name(): "." has none, and open() says better what is wrong with it.
        self.path = target.parent / f"{target.name}.part"
        self._sidecar = target.parent / f"{target.name}.part.json"
        self._descriptor = -1

    def open(self) -> None:
        """Open the part, made now if there is none, and lock it.

        Raises:
            IsADirectoryError: If the target is a folder.
            FileExistsError: If it is a device, a pipe or a socket.
            FileNotFoundError: If the folder of the target does not exist.
            DownloadInProgressError: If another download holds it.
            OSError: If it cannot be opened.
            NotImplementedError: If the platform has no POSIX locks.
        """
        try:
            import fcntl  # noqa: F401, PLC0415 - missing on some platforms, and asked for in time
        except ImportError:
            raise NotImplementedError(
                "download() needs the file locks of POSIX, which this platform does not have; "
                "write what response.content yields to a file of your own"
            ) from None
        permissions = self._permissions()
        for _ in range(_OPENS):
            descriptor = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666
            )
            try:
                if self._lock(descriptor):
                    if permissions is not None and not os.fstat(descriptor).st_size:
                        # Who may not read the old file may not read the new one, nor its part.
                        with contextlib.suppress(PermissionError):
                            os.fchmod(descriptor, permissions)
                    self._descriptor = descriptor
                    return
            finally:
                if self._descriptor != descriptor:
                    os.close(descriptor)
        raise self._in_progress()

    def _permissions(self) -> int | None:
        """Return those of the file that is to be replaced; ``None`` if there is none."""
        try:
            mode = self.target.stat().st_mode
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(f"{self.target} is a folder; name a file in it")
        if not stat.S_ISREG(mode):
            # Replacing /dev/null would be felt by everybody.
            raise FileExistsError(f"{self.target} is not a plain file; name another target")
        return mode & 0o777

    def _lock(self, descriptor: int) -> bool:
        """Lock; return whether the file still has its name."""
        import fcntl  # noqa: PLC0415 - see open()

        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{self.path} is not a plain file; remove it, or name another target")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._in_progress() from None
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat(follow_symlinks=False))
        except FileNotFoundError:
            return False

    def _in_progress(self) -> DownloadInProgressError:
        return DownloadInProgressError(
            f"another download to {self.target} is running; wait for it, or name another target"
        )

    @property
    def is_open(self) -> bool:
        """Whether the part is ours."""
        return self._descriptor >= 0

    @property
    def size(self) -> int:
        """Bytes that the part holds."""
        return os.fstat(self._descriptor).st_size

    def load(self) -> Origin | None:
        """Return what the part was begun with; ``None`` if that is not known."""
        if not self.size:
            return None
        try:
            # Whatever else may be there under its name is not waited for.
            descriptor = os.open(
                self._sidecar, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            )
            with os.fdopen(descriptor, "rb") as file:
                found = json.loads(file.read(_MAX_SIDECAR))
            if found.pop("version") != _VERSION:
                return None
            origin = Origin(**found)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        known = isinstance(origin.url, str) and isinstance(origin.validator, str)
        total: object = origin.total
        return origin if known and (total is None or type(total) is int) else None

    def begin(self, origin: Origin | None) -> None:
        """Empty the part for another *origin*; ``None`` is one that cannot be continued."""
        # In this order a crash leaves no bytes under a description of others.
        if self.size:
            os.ftruncate(self._descriptor, 0)
            os.fsync(self._descriptor)
        self._sidecar.unlink(missing_ok=True)
        if origin is not None:
            text = json.dumps({"version": _VERSION, **asdict(origin)})
            # It was removed just now: who put a link there did so to have another file written.
            with self._sidecar.open("x", encoding="utf-8") as file:
                file.write(text)

    def hash_into(self, hasher: Hasher, offset: int) -> int:
        """Feed some of what the part holds from *offset* on to *hasher*.

        Returns:
            The offset to go on at; *offset* itself at the end.
        """
        for _ in range(_HASHED):
            block = os.pread(self._descriptor, BLOCK, offset)
            if not block:
                break
            hasher.update(block)
            offset += len(block)
        return offset

    def append(self, pieces: Iterable[bytes], hasher: Hasher | None) -> None:
        """Write *pieces* at the end.

        Raises:
            OSError: If the disk is full; what fitted is kept.
        """
        os.lseek(self._descriptor, 0, os.SEEK_END)
        for piece in pieces:
            left = memoryview(piece)
            while left:
                written = os.write(self._descriptor, left)
                left = left[written:]
            if hasher is not None:
                hasher.update(piece)

    def finish(self) -> None:
        """Put the part in its target's place, on the disk, at once for whoever looks."""
        os.fsync(self._descriptor)
        self.path.replace(self.target)
        # From here on there is no part that anybody could keep, whatever else goes wrong.
        self.close()
        self._sidecar.unlink(missing_ok=True)
        self._sync_folder()

    def _sync_folder(self) -> None:
        """See to it that the old name is not back after a power failure."""
        try:
            folder = os.open(self.target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:
            # Whoever may write there need not be one who may read.
            return
        try:
            os.fsync(folder)
        except OSError as error:
            # Some file systems have nothing to sync there, and say so.
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(folder)

    def discard(self) -> None:
        """Remove what there is, and close."""
        if self._descriptor >= 0:
            # In this order: once the name is free, a description is that of another download.
            self._sidecar.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
            self.close()

    def close(self) -> None:
        """Give the lock back; may be called again."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
