"""Steps that run side by side and a join that brings together what they agree on."""

from flowc import FlowSpec, step


class BranchFlow(FlowSpec):
    """Describe a series of numbers in two ways at once."""

    unit = "mm"

    @step
    def start(self):
        # Rainfall of a year in some town, month by month; made up for this example.
        self.rain = [61, 45, 52, 38, 64, 71, 83, 79, 58, 49, 66, 70]
        self.next(self.centre, self.spread)

    @step
    def centre(self):
        ordered = sorted(self.rain)
        self.mean = sum(ordered) / len(ordered)
        self.median = (ordered[5] + ordered[6]) / 2
        self.note = "two measures of the centre"
        self.next(self.describe)

    @step
    def spread(self):
        mean = sum(self.rain) / len(self.rain)
        self.deviation = (sum((value - mean) ** 2 for value in self.rain) / len(self.rain)) ** 0.5
        self.note = "one measure of the spread"
        self.next(self.describe)

    @step
    def describe(self, inputs):
        # rain, mean, median and deviation have one value each; note has two, so it must be left out or set here.
        self.merge_artifacts(inputs, exclude=["note"])
        self.notes = [inputs.centre.note, inputs.spread.note]
        self.next(self.end)

    @step
    def end(self):
        print(f"mean {self.mean:.1f} {self.unit}, median {self.median:.1f} {self.unit}")
        print(f"standard deviation {self.deviation:.1f} {self.unit}, from {' and '.join(self.notes)}")


if __name__ == "__main__":
    BranchFlow()
