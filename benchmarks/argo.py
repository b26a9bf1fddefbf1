"""Compiling for Argo: a flow of ten steps with a gang, compared with Metaflow, and how the time grows with the steps.

Metaflow stores the flow's code before it writes its template, so it is given a bucket on this machine.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from .harness import FLOWS, Bench, Row, pairs
from .long_flow import source

WANTED = 0.3
"""What flowc may take of Metaflow's time."""
SIZES = (10, 500, 1000)
ROUNDS = 5
GROWTH = 2.8
"""1000 steps may take so many times as long as 500, both less what 10 take: 2 is linear, 4 is squared."""


def measure(bench: Bench) -> list[Row]:
    return [_against_metaflow(bench), _growth(bench)]


def _against_metaflow(bench: Bench) -> Row:
    print("  flowc compile, Metaflow's argo-workflows create", flush=True)
    folder = bench.folder("argo")
    flow = folder / "ten_steps.py"
    flow.write_text((FLOWS / "ten_steps.py").read_text("utf-8").replace("from flowc ", "from metaflow "), "utf-8")
    with _bucket() as settings:
        ours, theirs = pairs(
            9,
            lambda: bench.time([bench.flowc / "flowc", "compile", flow, "--target", "argo"], folder),
            lambda: bench.time(
                [bench.metaflow / "python", flow, "--datastore=s3", "argo-workflows", "create", "--only-json"],
                folder,
                settings,
            ),
        )
    ratio = ours.wall / theirs.wall
    return Row(
        "flowc compile --target argo, 10 steps",
        f"{ours.wall:.3f} s ({ours.cpu:.2f} s CPU)",
        f"Metaflow {theirs.wall:.3f} s ({theirs.cpu:.2f} s CPU)",
        f"{ratio:.2f}x",
        f"{WANTED:g}x",
        ratio <= WANTED,
    )


@contextmanager
def _bucket() -> Iterator[dict[str, str]]:
    """A bucket for Metaflow's code; gives the settings by which it is found."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        keys = {"aws_access_key_id": "bench", "aws_secret_access_key": "bench", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=url, **keys).create_bucket(Bucket="bench")
        yield {
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_DEFAULT_REGION": "us-east-1",
            "METAFLOW_DATASTORE_SYSROOT_S3": "s3://bench/metaflow",
            "METAFLOW_S3_ENDPOINT_URL": url,
        }
    finally:
        server.stop()


def _growth(bench: Bench) -> Row:
    folder = bench.folder("argo_long")
    taken: dict[int, list[float]] = {size: [] for size in SIZES}
    for size in SIZES:
        (folder / f"flow_{size}.py").write_text(source(size), "utf-8")
    for number in range(ROUNDS + 1):
        for size in SIZES:
            command = [bench.flowc / "flowc", "compile", folder / f"flow_{size}.py", "--target", "argo"]
            cost = bench.time(command, folder)
            if number:
                taken[size].append(cost.cpu)
    t = {size: min(taken[size]) for size in SIZES}
    print("  " + ", ".join(f"{size} steps: {t[size]:.3f} s" for size in SIZES), flush=True)
    growth = (t[1000] - t[10]) / (t[500] - t[10])
    return Row(
        "flowc compile --target argo, 1000 steps",
        f"{t[1000]:.2f} s CPU ({(t[1000] - t[10]) / 0.99:.2f} ms a step)",
        f"10: {t[10]:.2f} s, 500: {t[500]:.2f} s",
        f"{growth:.2f} times 500 (2 is linear)",
        f"{GROWTH:g}",
        growth <= GROWTH,
    )
