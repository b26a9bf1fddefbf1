"""Everything that goes into a run from outside: parameters, a file, a config that is fixed when the flow is read."""

from flowc import Config, FlowSpec, IncludeFile, JSONType, Parameter, environment, step


def count_words(context):
    """A default that is worked out when the run starts."""
    return f"words-of-{context.flow_name}"


class InputsFlow(FlowSpec):
    """Filter and count the lines of a file, as parameters and a config say."""

    settings = Config("settings", default="settings.json")
    lines = IncludeFile("lines", default="stations.csv", help="A CSV file with one station a line")
    limit = Parameter("limit", default=3, help="How many stations to show")
    minimum = Parameter("minimum", default=0.0, help="Leave out stations lower than this, in metres")
    reverse = Parameter("reverse", default=False, type=bool, help="Lowest first")
    countries = Parameter("countries", default="CH,AT", separator=",", help="Countries, separated by commas")
    rename = Parameter("rename", type=JSONType, default='{"AT": "Austria"}', help="Names for countries, as JSON")
    label = Parameter("label", default=count_words, help="Name of the result")

    @environment(vars={"STATION_UNIT": settings.unit})
    @step
    def start(self):
        import os

        self.unit = os.environ["STATION_UNIT"]
        rows = [line.split(",") for line in self.lines.strip().splitlines()[1:]]
        chosen = [
            (name, self.rename.get(country, country), float(height))
            for name, country, height in rows
            if country in self.countries and float(height) >= self.minimum
        ]
        self.stations = sorted(chosen, key=lambda row: row[2], reverse=not self.reverse)[: self.limit]
        self.next(self.end)

    @step
    def end(self):
        print(f"{self.settings.title} ({self.label})")
        for name, country, height in self.stations:
            print(f"{name:<20} {country:<12} {height:6.0f} {self.unit}")


if __name__ == "__main__":
    InputsFlow()
