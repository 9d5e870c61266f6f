"""One writer a folder: a lock that ends with its holder, however that dies."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from geomclip.machine.errors import InputError, NotAvailableError
from geomclip.machine.files import LOCK_NAME, explained, link_refused, make_folder, sync_folder


class Lock:
    """One writer a folder: `with Lock(folder): ...`.

    The lock is the kernel's (flock), so it ends with its holder however that dies, and a lock file found
    without a living holder is taken over. What the file says (process, host, since when) is for the message;
    process numbers, which are used again, decide nothing. With `wait` a folder that is held is waited for: what two
    processes need of a cache is made once.

    Raises
    ------
    InputError
        On entering without `wait`, if another process (or another Lock of this one) holds the folder: names it. If
        the lock file is a link, or no plain file.
    """

    def __init__(self, folder: str | Path, *, wait: bool = False) -> None:
        self.folder, self.wait = Path(folder), wait
        self._descriptor: int | None = None

    def __enter__(self) -> Lock:
        while self._descriptor is None:
            make_folder(self.folder)  # each time: who held it may have removed the folder
            self._descriptor = self._claim()
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        try:
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, json.dumps(holder).encode())
        except OSError as problem:
            self._release()
            raise explained(self.folder / LOCK_NAME, problem) from problem
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _claim(self) -> int | None:
        """The locked file's descriptor; None if its last holder removed the file meanwhile: try again."""
        try:
            import fcntl
        except ImportError:
            raise NotAvailableError("locking a folder needs a Unix system: run geomclip under WSL") from None
        path = self.folder / LOCK_NAME
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        except OSError as problem:
            raise (link_refused(path) if path.is_symlink() else explained(path, problem)) from problem
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                raise InputError(f"{path} is no plain file of its own: take it away, or name another folder")
        except BaseException:
            os.close(descriptor)
            raise
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if self.wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                same = os.path.samestat(os.fstat(descriptor), os.lstat(path))
            except FileNotFoundError:
                same = False
            if same:
                return descriptor
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise InputError(
                f"{self.folder} is being written by {holder}: wait for it to end, or name another folder"
            ) from None
        except OSError as problem:
            os.close(descriptor)
            raise InputError(
                f"{self.folder}: files here cannot be locked ({problem.strerror}): use another disk"
            ) from problem
        os.close(descriptor)
        return None

    def _release(self) -> None:
        if self._descriptor is not None:
            # removed while still held: whoever opened the old file sees that it is gone and starts over; one that
            # another made in its place meanwhile is that process's own
            path = self.folder / LOCK_NAME
            for _ in range(2):  # once more where a share did not answer: no later run may come here again
                with suppress(OSError):
                    if os.path.samestat(os.fstat(self._descriptor), os.lstat(path)):
                        path.unlink(missing_ok=True)
                        sync_folder(self.folder)  # or a power cut brings it back, where no one may lock again
                    break
            os.close(self._descriptor)
            self._descriptor = None


def clear_unheld(folder: Path) -> None:
    """Remove the lock of a folder that nobody holds: its holder could not, or was killed. Links are left alone."""
    path = folder / LOCK_NAME
    with suppress(ImportError, OSError):
        import fcntl

        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                path.unlink()
        finally:
            os.close(descriptor)


def holder_of(folder: str | Path) -> str:
    """Who holds the lock of a folder, as `Lock` names it; '' if nobody does. Nothing is made or changed."""
    try:
        import fcntl
    except ImportError:
        return ""
    try:
        descriptor = os.open(Path(folder) / LOCK_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _holder(descriptor)
    finally:
        os.close(descriptor)
    return ""


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        # between taking the lock and writing its name into it
        return "another process"
