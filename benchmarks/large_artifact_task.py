"""Inside flowc's installation: store and load 1 GB, in turns with the floor; prints the medians in seconds as JSON."""

import hashlib
import json
import os
import shutil
import statistics
import sys
import time

import numpy as np
from flowc.runtime.artifacts import ArtifactStore
from flowc.runtime.datastore import open_datastore

ROUNDS = 5
NUMBERS = 125_000_000


def clock(action):
    begin = time.perf_counter()
    result = action()
    return time.perf_counter() - begin, result


def hash_and_write(array, path):
    data = memoryview(array).cast("B")
    digest = hashlib.sha256(data).hexdigest()
    with open(path, "wb", buffering=0) as file:
        done = 0
        while done < len(data):
            done += file.write(data[done:])
    return digest


def main(folder):
    array = np.random.default_rng(1).random(NUMBERS)
    took = {"bytes": [], "store": [], "load": [], "read": []}
    for number in range(ROUNDS + 1):
        array[0] = number  # other bytes each time, or there would be nothing to store
        path = os.path.join(folder, "bytes")
        floor, _ = clock(lambda: hash_and_write(array, path))  # noqa: B023
        os.unlink(path)

        root = os.path.join(folder, "store")
        store = ArtifactStore(open_datastore(root), "Flow")
        stored, ref = clock(lambda: store.save("array", array))  # noqa: B023
        load, loaded = clock(lambda: store.load(ref, "array"))  # noqa: B023
        read, total = clock(loaded.sum)
        assert total == array.sum()
        shutil.rmtree(root)
        if number:
            for name, seconds in (("bytes", floor), ("store", stored), ("load", load), ("read", read)):
                took[name].append(seconds)
    print(json.dumps({name: round(statistics.median(values), 6) for name, values in took.items()}))


if __name__ == "__main__":
    main(sys.argv[1])
