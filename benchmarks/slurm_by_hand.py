"""What an engineer would write by hand for the flows of slurm.py: a script a step, submitted by a few lines of bash."""

from __future__ import annotations

from pathlib import Path

_HEAD = """#!/bin/bash
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --output=%x-{number}.out
set -euo pipefail
"{python}" {command}
"""

_CHAIN = """import json
import sys

number = int(sys.argv[1])
count = 0
if number:
    with open(f"{number - 1}.json") as file:
        count = json.load(file)
with open(f"{number}.json", "w") as file:
    json.dump(count + 1, file)
"""

_SUBMIT_CHAIN = """#!/bin/bash
set -euo pipefail
job=$(sbatch --parsable 0.sbatch)
for number in {{1..{last}}}; do
    job=$(sbatch --parsable --kill-on-invalid-dep=yes --dependency="afterok:$job" "$number.sbatch")
done
"""

_FOREACH = {
    "start": """import json

with open("items.json", "w") as file:
    json.dump(list(range(WIDTH)), file)
""",
    "work": """import json
import sys

number = int(sys.argv[1])
with open("items.json") as file:
    item = json.load(file)[number]
with open(f"{number}.json", "w") as file:
    json.dump(item * 2, file)
""",
    "join": """import json

total = 0
for number in range(WIDTH):
    with open(f"{number}.json") as file:
        total += json.load(file)
with open("total.json", "w") as file:
    json.dump(total, file)
""",
    "end": """import json

with open("total.json") as file:
    assert json.load(file) == WIDTH * (WIDTH - 1)
with open("end.json", "w") as file:
    json.dump(True, file)
""",
}

_SUBMIT_FOREACH = """#!/bin/bash
set -euo pipefail
start=$(sbatch --parsable start.sbatch)
work=$(sbatch --parsable --kill-on-invalid-dep=yes --dependency="afterok:$start" --array=0-{last} work.sbatch)
join=$(sbatch --parsable --kill-on-invalid-dep=yes --dependency="afterok:$work" join.sbatch)
sbatch --parsable --kill-on-invalid-dep=yes --dependency="afterok:$join" end.sbatch
"""


def write_chain(folder: Path, python: str, length: int) -> Path:
    """Write the jobs of a chain with their ``submit.sh``; gives the file that the last job writes."""
    (folder / "task.py").write_text(_CHAIN)
    for number in range(length):
        _script(folder / f"{number}.sbatch", python, f"task.py {number}")
    (folder / "submit.sh").write_text(_SUBMIT_CHAIN.format(last=length - 1))
    return folder / f"{length - 1}.json"


def write_foreach(folder: Path, python: str, width: int) -> Path:
    """Write the jobs of a foreach with their ``submit.sh``; gives the file that the last job writes."""
    for name, text in _FOREACH.items():
        (folder / f"{name}.py").write_text(text.replace("WIDTH", str(width)))
        argument = ' "$SLURM_ARRAY_TASK_ID"' if name == "work" else ""
        _script(folder / f"{name}.sbatch", python, f"{name}.py{argument}", "%A_%a" if argument else "%j")
    (folder / "submit.sh").write_text(_SUBMIT_FOREACH.format(last=width - 1))
    return folder / "end.json"


def _script(file: Path, python: str, command: str, number: str = "%j") -> None:
    file.write_text(_HEAD.format(python=python, command=command, number=number))
