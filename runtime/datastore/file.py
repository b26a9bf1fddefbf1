"""A datastore in a folder of this machine, or of a file system that all machines share."""

from __future__ import annotations

import errno
import mmap
import os
import time
from collections.abc import Iterable, Iterator, Sequence

from .. import contract
from .base import Bytes, Datastore, DatastoreError

_CHUNK = 64 * 1024 * 1024
_TEMPORARY = ".tmp"
_CLOSE = getattr(os, "O_CLOEXEC", 0)
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOSE
_READ = os.O_RDONLY | _CLOSE
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""How file systems without hard links say so."""


class FileDatastore(Datastore):
    """Keys are files below a folder. A file is written under a name of its own and then renamed, so that a writer that
    is killed leaves nothing that could be taken for a value."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self.url = self.root

    def __repr__(self) -> str:
        return f"FileDatastore({self.root!r})"

    def path(self, key: str) -> str:
        return f"{self.root}/{key}"

    # Reading ---------------------------------------------------------------------------------------------------------

    def read(self, key: str) -> bytes:
        path = f"{self.root}/{key}"
        try:
            fd = os.open(path, _READ)
            try:
                size = os.fstat(fd).st_size
                data = os.read(fd, size)
                while len(data) < size:
                    more = os.read(fd, size - len(data))
                    if not more:
                        break
                    data += more
                return data
            finally:
                os.close(fd)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self.error("read", path, error) from error

    def read_part(self, key: str, offset: int, size: int) -> bytes:
        path = f"{self.root}/{key}"
        try:
            fd = os.open(path, _READ)
            try:
                return os.pread(fd, size, offset)
            finally:
                os.close(fd)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self.error("read", path, error) from error

    def map(self, key: str) -> memoryview:
        path = f"{self.root}/{key}"
        try:
            try:
                return self._map(path)
            except OSError as error:
                # Every mapping keeps a file descriptor.
                if error.errno != errno.EMFILE or not _raise_file_limit():
                    raise
                return self._map(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno == errno.EMFILE:
                return memoryview(bytearray(self.read(key)))
            raise self.error("read", path, error) from error

    @staticmethod
    def _map(path: str) -> memoryview:
        fd = os.open(path, _READ)
        try:
            if os.fstat(fd).st_size == 0:
                return memoryview(bytearray())
            return memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_COPY))
        finally:
            os.close(fd)

    def size(self, key: str) -> int:
        path = f"{self.root}/{key}"
        try:
            return os.stat(path).st_size
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self.error("read", path, error) from error

    def exists(self, key: str) -> bool:
        return os.access(f"{self.root}/{key}", os.F_OK)

    def list(self, prefix: str) -> tuple[str, ...]:
        path = f"{self.root}/{prefix}"
        try:
            return tuple(name for name in os.listdir(path) if not name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise self.error("read", path, error) from error

    def walk(self, prefix: str) -> Iterator[str]:
        root = f"{self.root}/{prefix}" if prefix else self.root
        for folder, folders, names in os.walk(root, onerror=self._not_walked):
            below = f"{folder[len(root) + 1 :]}/" if folder != root else ""
            for name in names:
                yield below + name
            if below and not folders and not names:
                yield below

    def _not_walked(self, error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise self.error("read", str(error.filename), error) from error

    # Writing ---------------------------------------------------------------------------------------------------------

    def write(self, key: str, data: Bytes) -> None:
        self.put(key, (data,))

    def write_private(self, key: str, data: Bytes) -> None:
        self.put(key, (data,), 0o600)

    def put(self, key: str, pieces: Sequence[Bytes], mode: int = 0o666) -> None:
        path = f"{self.root}/{key}"
        temporary = self._write_temporary(path, pieces, mode)
        try:
            os.replace(temporary, path)
        except BaseException as error:
            _unlink(temporary)
            if isinstance(error, OSError):
                raise self.error("write", path, error) from error
            raise

    def create(self, key: str, data: Bytes) -> bool:
        path = f"{self.root}/{key}"
        temporary = self._write_temporary(path, (data,))
        try:
            os.link(temporary, path)
            return True
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno in _NO_LINKS:
                return self._create_under_lock(temporary, path)
            raise self.error("write", path, error) from error
        finally:
            _unlink(temporary)

    def _create_under_lock(self, temporary: str, path: str) -> bool:
        """What a hard link does where there are none: the lock goes with its holder, so a killed one blocks nobody."""
        import fcntl

        try:
            fd = os.open(f"{os.path.dirname(path)}/.create.lock", os.O_RDWR | os.O_CREAT | _CLOSE, 0o666)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                if os.path.lexists(path):
                    return False
                os.rename(temporary, path)
                return True
            finally:
                os.close(fd)
        except OSError as error:
            raise self.error("write", path, error) from error

    def _write_temporary(self, path: str, pieces: Iterable[Bytes], mode: int = 0o666) -> str:
        folder, _, base = path.rpartition("/")
        temporary = f"{folder}/.{base[:80]}.{os.getpid():x}-{os.urandom(4).hex()}{_TEMPORARY}"
        try:
            try:
                fd = os.open(temporary, _WRITE, mode)
            except FileNotFoundError:
                os.makedirs(folder, exist_ok=True)
                fd = os.open(temporary, _WRITE, mode)
        except OSError as error:
            raise self.error("write", path, error) from error
        try:
            try:
                for piece in pieces:
                    _write_all(fd, piece)
            finally:
                os.close(fd)
        except BaseException as error:
            _unlink(temporary)
            if isinstance(error, OSError):
                raise self.error("write", path, error) from error
            raise
        return temporary

    def create_folder(self, key: str) -> bool:
        path = f"{self.root}/{key}"
        try:
            try:
                os.mkdir(path)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.mkdir(path)
        except FileExistsError:
            if not os.path.isdir(path):
                raise self.error("write", path, NotADirectoryError(errno.ENOTDIR, "Not a directory")) from None
            return False
        except OSError as error:
            raise self.error("write", path, error) from error
        return True

    def set_aside(self, key: str) -> None:
        path = f"{self.root}/{key}"
        try:
            os.replace(path, f"{path}.damaged")
        except OSError:
            pass

    def remove_tree(self, prefix: str) -> None:
        import shutil

        path = f"{self.root}/{prefix}"
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self.error("remove", path, error) from error

    def sweep(self, prefix: str, older_than: float = 3600.0) -> int:
        before = time.time() - older_than
        count = 0
        for folder, folders, names in os.walk(f"{self.root}/{prefix}"):
            for name in (*names, *folders):
                if name.startswith(".") and name.endswith(_TEMPORARY):
                    count += _remove_if_older(f"{folder}/{name}", before)
            folders[:] = [name for name in folders if not name.endswith(_TEMPORARY)]
        return count

    # Errors ----------------------------------------------------------------------------------------------------------

    def error(self, verb: str, path: str, error: OSError) -> DatastoreError:
        another = f"choose another datastore with --datastore or {contract.DATASTORE}"
        code = error.errno
        if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            what = f"the datastore {self.root} is full (writing {path}): free some space, or {another}"
        elif code == errno.EROFS:
            what = f"the datastore {self.root} is on a read-only file system (writing {path}): {another}"
        elif code in (errno.EACCES, errno.EPERM):
            what = f"no permission to {verb} {path}: allow it for the user {_user()}, or {another}"
        elif code in (errno.ENOTDIR, errno.EISDIR):
            what = f"cannot {verb} {path}: a file stands where a folder should be, or a folder where a file; {another}"
        elif code in (errno.EMFILE, errno.ENFILE):
            what = f"cannot {verb} {path}: too many open files; close some, or raise the limit with ulimit -n"
        else:
            what = f"cannot {verb} {path}: {error.strerror or error}; check the file system, or {another}"
        return DatastoreError(what)


def _write_all(fd: int, piece: Bytes) -> None:
    size = len(piece) if isinstance(piece, (bytes, bytearray)) else piece.nbytes
    if size <= _CHUNK:
        written = os.write(fd, piece)
        if written == size:
            return
    else:
        written = 0
    with memoryview(piece) as view, view.cast("B") as flat:
        while written < size:
            with flat[written : written + _CHUNK] as chunk:
                written += os.write(fd, chunk)


def _remove_if_older(path: str, before: float) -> bool:
    try:
        if os.stat(path).st_mtime > before:
            return False
        if os.path.isdir(path):
            import shutil

            shutil.rmtree(path)
        else:
            os.unlink(path)
    except OSError:
        return False
    return True


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def _raise_file_limit() -> bool:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return False
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        return False
    return True


def _user() -> str:
    return os.environ.get("USER") or os.environ.get("LOGNAME") or f"with id {os.getuid()}"
