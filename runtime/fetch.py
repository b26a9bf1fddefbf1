"""``python fetch.py WORDS...``: get the code of a flow from a bucket, check it, run ``python -m flowc.runtime WORDS``.

This file lies alone in a pod, before any flowc is there, and so imports none of it.
"""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from typing import Any

CODE = "/tmp/flowc/code"  # noqa: S108 (in a pod of its own)
"""Where it is laid out."""

REFUSED = 2


class Refused(Exception):
    """The code cannot be had, or is not what the manifests were made with."""


def main(words: list[str]) -> None:
    """Go on as the runtime, in the folder of the code; ends the process with 2 and a message if that cannot be."""
    # The first process of a container does not end by a signal that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    try:
        url, digest = os.environ["FLOWC_CODE_URL"], os.environ["FLOWC_CODE_DIGEST"]
        lay_out(fetched(url), digest, url, CODE)
        os.chdir(CODE)  # not the flow's, where Python would take a flow called random.py for its own
    except (Refused, KeyError, OSError) as error:
        sys.stderr.write(f"flowc: {error}\n" if isinstance(error, Refused) else f"flowc: {error!r}\n")
        sys.exit(REFUSED)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, "-m", "flowc.runtime", *words])  # noqa: S606


def lay_out(data: bytes, digest: str, url: str, folder: str) -> None:
    """Unpack an archive whose SHA-256 is ``digest``.

    Raises
    ------
    Refused
        If it is another one.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise Refused(
            f"{url} does not hold the code that the manifests were made with (SHA-256 {found}, not {digest}); "
            "upload it again: flowc deploy, or copy the code.zip that lies beside the manifests"
        )
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(folder)


def fetched(url: str) -> bytes:
    """The bytes of an object.

    Raises
    ------
    Refused
        If it cannot be had; the message says why.
    """
    bucket, _, key = url.partition("://")[2].partition("/")
    try:
        data: bytes = _boto3().client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"the code cannot be fetched from {url}: {error}; let the pod read it") from error
    return data


def _boto3() -> Any:
    try:
        import boto3
    except ImportError:
        folder = tempfile.mkdtemp(prefix="flowc-packages-")
        pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]
        done = subprocess.run(  # noqa: S603
            [*pip, "--target", folder, "boto3"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode != 0:
            said = "\n".join(done.stdout.splitlines()[-15:])
            raise Refused(f"the code lies in S3, and boto3 is not in the image nor to be installed:\n{said}") from None
        sys.path.insert(0, folder)
        # The runtime finds it there as well.
        os.environ["PYTHONPATH"] = os.pathsep.join([*os.environ.get("PYTHONPATH", "").split(os.pathsep), folder])
        import boto3
    return boto3


if __name__ == "__main__":
    main(sys.argv[1:])
