"""A checkpoint: what a step has done so far survives the failure of its attempt."""

import json
from pathlib import Path

from flowc import FlowSpec, checkpoint, current, retry, step


class CheckpointFlow(FlowSpec):
    """Ten rounds of work, in the middle of which the first attempt fails; the second one goes on where it was."""

    @step
    def start(self):
        self.rounds = 10
        self.next(self.work)

    @checkpoint
    @retry(times=1, minutes_between_retries=0)
    @step
    def work(self):
        # The folder begins with what the last checkpoint held.
        file = Path(current.checkpoint.directory) / "state.json"
        state = json.loads(file.read_text()) if current.checkpoint.is_loaded else {"round": 0, "total": 0}
        self.began_at = state["round"]
        print(f"attempt {current.retry_count} begins at round {self.began_at}")

        while state["round"] < self.rounds:
            if current.retry_count == 0 and state["round"] == 6:
                raise RuntimeError("the machine was taken away")
            state = {"round": state["round"] + 1, "total": state["total"] + state["round"]}
            file.write_text(json.dumps(state))
            current.checkpoint.save()
        self.total = state["total"]
        self.next(self.end)

    @step
    def end(self):
        print(f"total {self.total}, the last attempt began at round {self.began_at}")


if __name__ == "__main__":
    CheckpointFlow()
