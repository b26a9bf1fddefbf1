"""FC3xx: parameters and configs."""

from __future__ import annotations

from .code import Code, entry

INPUTS: tuple[Code, ...] = (
    entry(
        "FC301", "A name that no parameter can have",
        "It becomes an option of the command line: a letter first, then letters, digits, underscores and hyphens.",
        'rate = Parameter("learning rate", default=0.1)  # <--',
        'rate = Parameter("learning-rate", default=0.1)',
    ),
    entry(
        "FC302", "Two parameters of one name",
        """On the command line they could not be told apart; small and capital letters, - and _ make no difference
        there.""",
        """
        rate = Parameter("rate", default=0.1)
        other = Parameter("rate", default=0.2)  # <--
        """,
        """
        rate = Parameter("rate", default=0.1)
        other = Parameter("other-rate", default=0.2)
        """,
    ),
    entry(
        "FC303", "A parameter with the name of an option",
        "The command line has options of its own, such as --tag, --datastore and --max-workers.",
        'tag = Parameter("tag", default="x")  # <--',
        'label = Parameter("label", default="x")',
    ),
    entry(
        "FC304", "An option that parameters do not have",
        "The name is misspelt, or the value is of the wrong kind.",
        'rate = Parameter("rate", defualt=0.1)  # <--',
        'rate = Parameter("rate", default=0.1)',
    ),
    entry(
        "FC305", "A type that no parameter can have",
        "The types are str, int, float, bool and JSONType, which takes lists and dictionaries.",
        'sizes = Parameter("sizes", type=list)  # <--',
        'sizes = Parameter("sizes", type=JSONType)',
    ),
    entry(
        "FC306", "A default that is not of the parameter's type",
        "Whoever starts the flow without this parameter would get a value that nobody could give.",
        'count = Parameter("count", type=int, default="three")  # <--',
        'count = Parameter("count", type=int, default=3)',
    ),
    entry(
        "FC307", "A required parameter with a default",
        "A run cannot start without it, so the default is never used. This is a warning.",
        'count = Parameter("count", default=3, required=True)  # <--',
        'count = Parameter("count", default=3)',
    ),
    entry(
        "FC308", "A separator that has nothing to split",
        "It splits the text of a parameter of type str into a list.",
        'names = Parameter("names", type=int, separator=",")  # <--',
        'names = Parameter("names", separator=",")',
    ),
    entry(
        "FC309", "The default of an IncludeFile is not there",
        """The path is relative to the folder of the flow's file. Another file may be given when the flow is started,
        so this is a warning.""",
        'table = IncludeFile("table", default="tabel.csv")  # <--',
        'table = IncludeFile("table")',
    ),
    entry(
        "FC310", "A config has no value",
        "Its file cannot be read, or it is required and none is given.",
        'settings = Config("settings", default="setings.json")  # <--',
        'settings = Config("settings", default_value={"rate": 0.1})',
    ),
    entry(
        "FC311", "A config cannot be read",
        "Its text is not JSON, its parser raises, or what the parser gives is not plain data.",
        """settings = Config("settings", default_value="{'rate': 0.1}")  # <--""",
        """settings = Config("settings", default_value='{"rate": 0.1}')""",
    ),
    entry(
        "FC312", "There is no such config",
        "--config and --config-value name a config of the flow.",
        "$ flowc check flow.py --config setings settings.json", "$ flowc check flow.py --config settings settings.json",
        "command",
    ),
    entry(
        "FC313", "A config expression cannot be worked out",
        "The config lacks what the expression asks for, or the expression itself is wrong.",
        """
        settings = Config("settings", default_value={"cores": 2})

        @resources(cpu=settings.cpus)  # <--
        @step
        def start(self):
            self.next(self.end)
        """,
        """
        settings = Config("settings", default_value={"cores": 2})

        @resources(cpu=settings.cores)
        @step
        def start(self):
            self.next(self.end)
        """,
    ),
    entry(
        "FC314", "A config with two defaults",
        "A file and a value: nobody could tell which of them counts.",
        'settings = Config("settings", default="settings.json", default_value={"rate": 0.1})  # <--',
        'settings = Config("settings", default_value={"rate": 0.1})',
    ),
)  # fmt: skip
