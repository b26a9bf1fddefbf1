"""The floor: for each task a bare fork, a pickle and a rename, with as many children at once as flowc has workers.

``python floor.py TASKS FOLDER``
"""

import os
import pickle
import sys

WORKERS = 16


def main(tasks, folder):
    running = 0
    for number in range(tasks):
        if running == WORKERS:
            os.wait()
            running -= 1
        if os.fork() == 0:
            path = os.path.join(folder, str(number))
            with open(path + ".new", "wb") as file:
                file.write(pickle.dumps({"result": number * 2}, protocol=5))
            os.replace(path + ".new", path)
            os._exit(0)
        running += 1
    for _ in range(running):
        os.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
