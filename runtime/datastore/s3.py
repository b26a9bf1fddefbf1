"""A datastore in a bucket of S3, or of whatever speaks its language.

An object appears whole or not at all, so nothing is written under another name first. Who creates a key only if it is
not there asks the store to see to that (``If-None-Match``); a store that cannot is asked whether the key is there just
before, which two at the same instant may both be told is not so.
"""

from __future__ import annotations

import io
import mmap
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from .. import contract
from .base import Bytes, Datastore, DatastoreError

_WHOLE = 64 * 1024 * 1024
"""Bytes up to which an object is sent in one request; larger ones in parts."""

_MISSING = ("404", "NoSuchKey", "NotFound")
_TAKEN = ("412", "PreconditionFailed")
_AT_ONCE = ("409", "ConditionalRequestConflict")
_NOT_KNOWN = ("501", "NotImplemented", "InvalidArgument")
_FOLDER = ".folder"


class S3Datastore(Datastore):
    """Keys are objects below a prefix of a bucket; the region, the endpoint and the credentials are found by boto3.

    Parameters
    ----------
    url : str
        ``s3://bucket`` or ``s3://bucket/prefix``.

    Raises
    ------
    DatastoreError
        If the URL names no bucket.
    """

    def __init__(self, url: str) -> None:
        bucket, _, prefix = url.partition("://")[2].partition("/")
        if not bucket:
            raise DatastoreError(f"{url!r} names no bucket: write s3://bucket/prefix")
        self.bucket = bucket
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.url = f"s3://{bucket}/{self.prefix}".rstrip("/")
        self._client: Any = None
        self._owner = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"S3Datastore({self.url!r})"

    def path(self, key: str) -> str:
        raise DatastoreError(f"{self.url}/{key} is no file of this machine; what needs one takes a folder as datastore")

    @property
    def _s3(self) -> Any:
        with self._lock:
            # Connections cannot be shared with a forked process.
            if self._client is None or self._owner != os.getpid():
                self._client = _boto3(self.url).client("s3")
                self._owner = os.getpid()
            return self._client

    # Reading ---------------------------------------------------------------------------------------------------------

    def read(self, key: str) -> bytes:
        data: bytes = self._ask("read", key, "get_object")["Body"].read()
        return data

    def read_part(self, key: str, offset: int, size: int) -> bytes:
        if size <= 0 or offset >= self.size(key):
            return b""
        data: bytes = self._ask("read", key, "get_object", Range=f"bytes={offset}-{offset + size - 1}")["Body"].read()
        return data

    def map(self, key: str) -> memoryview:
        """A copy of the object in a file of this machine, which is gone with the memory."""
        size = self.size(key)
        if size == 0:
            return memoryview(bytearray())
        with tempfile.TemporaryFile(dir=os.environ.get(contract.SCRATCH) or None) as file:
            try:
                self._s3.download_fileobj(self.bucket, self.prefix + key, file)
                file.flush()
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
            except OSError as error:
                raise self.error("read", f"{self.url}/{key}", error) from error
            except Exception as error:
                raise self._failed("read", key, error) from error

    def size(self, key: str) -> int:
        return int(self._ask("read", key, "head_object")["ContentLength"])

    def exists(self, key: str) -> bool:
        try:
            self._ask("read", key, "head_object")
            return True
        except FileNotFoundError:
            found = self._list(f"{self.prefix}{key}/", MaxKeys=1)
            return any(page.get("KeyCount") for page in found)

    def list(self, prefix: str) -> tuple[str, ...]:
        below = f"{self.prefix}{prefix}/" if prefix else self.prefix
        names = []
        for page in self._list(below, Delimiter="/"):
            names += [item["Key"][len(below) :] for item in page.get("Contents", ())]
            names += [item["Prefix"][len(below) : -1] for item in page.get("CommonPrefixes", ())]
        return tuple(name for name in names if name and not name.startswith("."))

    def walk(self, prefix: str) -> Iterator[str]:
        below = f"{self.prefix}{prefix}/" if prefix else self.prefix
        for page in self._list(below):
            for item in page.get("Contents", ()):
                if item["Key"] != below:
                    yield item["Key"][len(below) :]

    def _list(self, prefix: str, **more: Any) -> Iterator[Any]:
        token: dict[str, Any] = {}
        while True:
            page = self._ask("read", "", "list_objects_v2", Key=None, Prefix=prefix, **more, **token)
            yield page
            if not page.get("IsTruncated") or "MaxKeys" in more:
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    # Writing ---------------------------------------------------------------------------------------------------------

    def write(self, key: str, data: Bytes) -> None:
        self.put(key, (data,))

    def write_private(self, key: str, data: Bytes) -> None:
        # Who may read the bucket is the bucket's matter.
        self.put(key, (data,))

    def put(self, key: str, pieces: Sequence[Bytes]) -> None:
        size = sum(memoryview(piece).nbytes for piece in pieces)
        if size <= _WHOLE:
            self._ask("write", key, "put_object", Body=b"".join(bytes(piece) for piece in pieces))
            return
        try:
            self._s3.upload_fileobj(io.BufferedReader(_Pieces(pieces), 1 << 20), self.bucket, self.prefix + key)
        except Exception as error:
            raise self._failed("write", key, error) from error

    def create(self, key: str, data: Bytes) -> bool:
        while True:
            try:
                self._s3.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=bytes(data), IfNoneMatch="*")
                return True
            except Exception as error:
                code = _code(error)
                if code in _TAKEN:
                    return False
                if code in _AT_ONCE:
                    continue  # another is creating it now; the next answer says whether that came to pass
                if code not in _NOT_KNOWN and type(error).__name__ != "ParamValidationError":
                    raise self._failed("write", key, error) from error
            if self.exists(key):
                return False
            self.write(key, data)
            return True

    def create_folder(self, key: str) -> bool:
        return self.create(f"{key}/{_FOLDER}", b"")

    def set_aside(self, key: str) -> None:
        source = {"Bucket": self.bucket, "Key": self.prefix + key}
        try:
            self._s3.copy(source, self.bucket, f"{self.prefix}{key}.damaged")
            self._s3.delete_object(**source)
        except Exception:
            return  # it stays as it is

    def remove_tree(self, prefix: str) -> None:
        for page in self._list(f"{self.prefix}{prefix}/"):
            keys = [{"Key": item["Key"]} for item in page.get("Contents", ())]
            if keys:
                done = self._ask("remove", prefix, "delete_objects", Key=None, Delete={"Objects": keys, "Quiet": True})
                for problem in done.get("Errors", ()):
                    raise DatastoreError(f"{self.url}/{problem['Key']} could not be removed: {problem.get('Message')}")

    def sweep(self, prefix: str, older_than: float = 3600.0) -> int:
        # Nothing of a killed writer can be seen; parts of an upload are the bucket's lifecycle rules' to remove.
        return 0

    # Errors ----------------------------------------------------------------------------------------------------------

    def error(self, verb: str, path: str, error: OSError) -> DatastoreError:
        return DatastoreError(f"cannot {verb} {path}: {error.strerror or error}; check the disk of this machine")

    def _ask(self, verb: str, key: str, request: str, **values: Any) -> Any:
        values = {"Key": self.prefix + key, **values}
        try:
            given = {name: value for name, value in values.items() if value is not None}
            return getattr(self._s3, request)(Bucket=self.bucket, **given)
        except DatastoreError:
            raise
        except Exception as error:
            raise self._failed(verb, key, error) from error

    def _failed(self, verb: str, key: str, error: Exception) -> Exception:
        code = _code(error)
        place = f"{self.url}/{key}".rstrip("/")
        if code in _MISSING:
            return FileNotFoundError(2, "No such object", place)
        if code == "NoSuchBucket":
            return DatastoreError(f"there is no bucket {self.bucket}: create it, or choose another datastore")
        if code in ("403", "AccessDenied", "AllAccessDisabled"):
            return DatastoreError(f"no permission to {verb} {place}: allow it for these credentials, or take others")
        name = type(error).__name__
        if name in ("NoCredentialsError", "PartialCredentialsError") or "Token" in code or "AccessKeyId" in code:
            return DatastoreError(f"cannot {verb} {place}: no valid credentials for S3 ({error}); give boto3 some")
        return DatastoreError(f"cannot {verb} {place}: {error}; check the network, the region and the endpoint")


class _Pieces(io.RawIOBase):
    """Pieces one after the other, as a file."""

    def __init__(self, pieces: Sequence[Bytes]) -> None:
        self._views = [memoryview(piece).cast("B") for piece in pieces]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._views and not self._views[0].nbytes:
            self._views.pop(0)
        if not self._views:
            return 0
        count = min(len(buffer), self._views[0].nbytes)
        buffer[:count] = self._views[0][:count]
        self._views[0] = self._views[0][count:]
        return count


def _code(error: Exception) -> str:
    response: Optional[Any] = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _boto3(url: str) -> Any:
    try:
        import boto3
    except ImportError:
        if not os.environ.get(contract.RUN_ID):
            raise DatastoreError(f"the datastore {url} needs boto3: pip install boto3") from None
        from ...dsl import FlowcError
        from ..packages import install

        try:
            # A task: its image is nobody's to change but its own.
            install(["boto3"])
            import boto3
        except (FlowcError, ImportError) as error:
            raise DatastoreError(f"the datastore {url} needs boto3, which is not in the image; {error}") from error
    return boto3
