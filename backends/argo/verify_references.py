"""What the tags of a workflow may refer to, and whether each does.

The variables are those of https://argo-workflows.readthedocs.io/en/latest/variables/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ...compiler.diagnostics import did_you_mean
from .verify_languages import Expression, NotRead, Path, read_expression, read_text
from .verify_report import Report, texts

_WORKFLOW = frozenset(["name", "namespace", "mainEntrypoint", "serviceAccountName", "uid", "priority", "duration"])
_ENDED = frozenset(["status", "failures"])
_TIMES = frozenset(["creationTimestamp", "scheduledTime"])
_TASK_FACTS = frozenset(["id", "ip", "status", "exitCode", "startedAt", "finishedAt", "hostNodeName"])
_LAST_RETRY = frozenset(["exitCode", "status", "duration", "message"])
_FUNCTIONS = frozenset(
    """asInt asFloat string jsonpath toJson
    all any one none map filter find findIndex findLast findLastIndex groupBy count concat join reduce sum mean median
    first last take reverse sort sortBy keys values toPairs fromPairs flatten uniq
    len type get int float now duration date timezone trim trimPrefix trimSuffix upper lower split splitAfter replace
    repeat indexOf lastIndexOf hasPrefix hasSuffix max min abs ceil floor round
    fromJSON toJSON toBase64 fromBase64 bitand bitor bitxor bitnand bitnot bitshl bitshr bitushr""".split()  # noqa: SIM905
)
"""Argo's own and those of expr-lang."""
_SPRIG = frozenset(
    """abbrev abbrevboth add add1 add1f addf adler32sum ago all any append atoi
    b32dec b32enc b64dec b64enc base bcrypt biggest buildCustomCert camelcase cat ceil chunk clean coalesce compact
    concat contains date dateInZone dateModify date_in_zone date_modify decryptAES deepCopy deepEqual default
    derivePassword dict dig dir div divf duration durationRound empty encryptAES ext fail first float64 floor fromJson
    genCA genCAWithKey genPrivateKey genSelfSignedCert genSelfSignedCertWithKey genSignedCert genSignedCertWithKey get
    getHostByName has hasKey hasPrefix hasSuffix hello htmlDate htmlDateInZone htpasswd indent initial initials int
    int64 isAbs join kebabcase keys kindIs kindOf last list lower max maxf merge mergeOverwrite min minf mod mul mulf
    mustAppend mustChunk mustCompact mustDateModify mustDeepCopy mustFirst mustFromJson mustHas mustInitial mustLast
    mustMerge mustMergeOverwrite mustPrepend mustPush mustRegexFind mustRegexFindAll mustRegexMatch
    mustRegexReplaceAll mustRegexReplaceAllLiteral mustRegexSplit mustRest mustReverse mustSlice mustToDate mustToJson
    mustToPrettyJson mustToRawJson mustUniq mustWithout must_date_modify nindent nospace now omit osBase osClean osDir
    osExt osIsAbs pick pluck plural prepend push quote randAlpha randAlphaNum randAscii randBytes randInt randNumeric
    regexFind regexFindAll regexMatch regexQuoteMeta regexReplaceAll regexReplaceAllLiteral regexSplit repeat replace
    rest reverse round semver semverCompare seq set sha1sum sha256sum sha512sum shuffle slice snakecase sortAlpha split
    splitList splitn squote sub subf substr swapcase ternary title toDate toDecimal toJson toPrettyJson toRawJson
    toString toStrings trim trimAll trimPrefix trimSuffix trimall trunc tuple typeIs typeIsLike typeOf uniq unixEpoch
    unset until untilStep untitle upper urlJoin urlParse uuidv4 values without wrap wrapWith""".split()  # noqa: SIM905
)
"""Those of https://masterminds.github.io/sprig/ but env and expandenv, which Argo takes away."""
_PREFIXES = ("inputs", "item", "lastRetry", "node", "outputs", "pod", "retries", "steps", "tasks", "workflow")


@dataclass(frozen=True)
class TaskFacts:
    """What may be asked of a task: its output parameters and artifacts, and whether it has a result."""

    parameters: frozenset[str] = frozenset()
    artifacts: frozenset[str] = frozenset()
    has_result: bool = False


@dataclass(frozen=True)
class Scope:
    """What can be referred to at one place.

    Parameters
    ----------
    parameters : frozenset of str
        Of the workflow.
    tasks : mapping
        The tasks that are known here: in a DAG's task, its ancestors.
    all_tasks : frozenset of str
        Every task of the DAG, to tell those that are none from those that come too early.
    loops, retried, ended : bool
        Whether an item, a retry strategy, the end of the workflow is spoken of.
    pod : bool
        Whether the template has a pod, with a name.
    """

    parameters: frozenset[str]
    labels: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()
    input_artifacts: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()
    output_artifacts: frozenset[str] = frozenset()
    tasks: Mapping[str, TaskFacts] = field(default_factory=dict)
    all_tasks: frozenset[str] = frozenset()
    loops: bool = False
    retried: bool = False
    ended: bool = False
    pod: bool = False

    def but(self, **changes: object) -> Scope:
        """The same with some of it changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


def check_texts(value: object, path: str, scope: Scope, report: Report) -> None:
    """Check the tags of every text in a value."""
    for place, text in texts(value, path):
        check_text(text, place, scope, report)


def check_text(text: str, path: str, scope: Scope, report: Report) -> None:
    """Check the tags of one text."""
    try:
        read = read_text(text)
    except NotRead as error:
        report.add(path, f"a tag cannot be read: {error}", "write {{name}} or {{=expression}}, each closed by }}")
        return
    for tag in read.tags:
        _check_path(tag, path, scope, report, expression=False)
    for expression in read.expressions:
        _check_expression(expression, path, scope, report)


def check_expression(text: str, path: str, scope: Scope, report: Report) -> None:
    """Check an expression that stands without braces."""
    try:
        _check_expression(read_expression(text), path, scope, report)
    except NotRead as error:
        report.add(path, f"an expression cannot be read: {error}", "write it in the language of expr-lang.org")


def _check_expression(expression: Expression, path: str, scope: Scope, report: Report) -> None:
    for name, count in expression.calls:
        if name.startswith("sprig.") and name.removeprefix("sprig.") in _SPRIG:
            continue
        if name not in _FUNCTIONS:
            near = did_you_mean(name, sorted(_FUNCTIONS | {f"sprig.{each}" for each in _SPRIG}))
            report.add(path, f"there is no function {name!r}", near or "take one of Argo, expr-lang or sprig.*")
        elif count == 0 and name not in ("now",):
            report.add(path, f"{name}() lacks its argument", "give it one")
    for found in expression.paths:
        _check_path(found, path, scope, report, expression=True)


def _check_path(tag: Path, path: str, scope: Scope, report: Report, *, expression: bool) -> None:
    problem = _problem(tag, scope, expression)
    if problem:
        message, remedy = problem
        report.add(path, f"{'.'.join(tag)!r} {message}", remedy)


_Problem = tuple[str, str]


def _problem(tag: Path, scope: Scope, expression: bool) -> _Problem | None:
    head, rest = tag[0], tag[1:]
    if head == "workflow":
        return _workflow(rest, scope, expression)
    if head == "inputs":
        return _inputs(rest, scope, expression)
    if head in ("tasks", "steps"):
        return _task(head, rest, scope, expression)
    if head == "item":
        if not scope.loops:
            return "is not in a loop", "give the task withSequence, withItems or withParam"
        return None
    if head in ("retries", "lastRetry"):
        if not scope.retried:
            return "is only known under a retryStrategy", "give the template a retryStrategy"
        if head == "retries":
            return None if not rest else _unknown(rest[0], ())
        return None if len(rest) == 1 and rest[0] in _LAST_RETRY else _unknown(".".join(rest), _LAST_RETRY)
    if head in ("pod", "node"):
        if rest != ("name",):
            return _unknown(".".join(rest), ("name",))
        return None if scope.pod else ("has no pod here", "use it in a template that runs a container")
    if head == "outputs":
        return _outputs(rest, scope)
    return "does not begin as any variable does", did_you_mean(head, _PREFIXES) or (
        "begin it with inputs, tasks or workflow"
    )


def _workflow(rest: Path, scope: Scope, expression: bool) -> _Problem | None:
    first = rest[0] if rest else ""
    if first == "parameters":
        # All of them as JSON: the bare name in a simple tag, with .json also in expressions.
        if len(rest) == 1:
            return None if not expression else ("is no text in an expression", "write workflow.parameters.json")
        if rest == ("parameters", "json") or (len(rest) == 2 and rest[1] in scope.parameters):
            return None
        return _unknown(".".join(rest[1:]), scope.parameters)
    if first in ("labels", "annotations"):
        return None if len(rest) > 1 else ("needs a name", f"write workflow.{first}.NAME")
    if first == "outputs":
        return None if len(rest) == 3 and rest[1] in ("parameters", "artifacts") else _unknown(".".join(rest), ())
    if first in _TIMES and len(rest) <= 2:
        return None
    if len(rest) == 1 and first in _WORKFLOW:
        return None
    if len(rest) == 1 and first in _ENDED:
        return None if scope.ended else ("is only known at the workflow's end", "use it in the onExit template")
    return _unknown(".".join(rest), _WORKFLOW | _TIMES | {"parameters"})


def _inputs(rest: Path, scope: Scope, expression: bool) -> _Problem | None:
    if rest == ("parameters",):
        return None
    if len(rest) == 2 and rest[0] == "parameters":
        return None if rest[1] in scope.inputs else _unknown(rest[1], scope.inputs, "input parameter of the template")
    if len(rest) >= 2 and rest[0] == "artifacts":
        known = rest[1] in scope.input_artifacts and rest[2:] in ((), ("path",))
        return None if known else _unknown(rest[1], scope.input_artifacts, "input artifact of the template")
    return _unknown(".".join(rest), ("parameters", "artifacts"))


def _outputs(rest: Path, scope: Scope) -> _Problem | None:
    kinds = {"parameters": scope.outputs, "artifacts": scope.output_artifacts}
    if len(rest) == 3 and rest[0] in kinds and rest[2] == "path":
        return None if rest[1] in kinds[rest[0]] else _unknown(rest[1], kinds[rest[0]])
    return _unknown(".".join(rest), ())


def _task(head: str, rest: Path, scope: Scope, expression: bool) -> _Problem | None:
    if not rest:
        return "needs a task", f"write {head}.NAME.outputs.parameters.NAME"
    name, asked = rest[0], rest[1:]
    facts = scope.tasks.get(name)
    if facts is None:
        if name in scope.all_tasks:
            return f"asks for {name!r}, which need not have ended by then", f"let the task depend on {name}"
        return _unknown(name, scope.tasks, "task here")
    if len(asked) == 1 and asked[0] in _TASK_FACTS:
        return None
    if asked == ("outputs", "result"):
        return None if facts.has_result else ("is the output of a container", f"{name} has none; use a parameter")
    if asked[:2] == ("outputs", "parameters"):
        if len(asked) == 2:
            return None
        known = len(asked) == 3 and asked[2] in facts.parameters
        return None if known else _unknown(".".join(asked[2:]), facts.parameters, f"output parameter of {name}")
    if asked[:2] == ("outputs", "artifacts") and len(asked) == 3:
        return None if asked[2] in facts.artifacts else _unknown(asked[2], facts.artifacts, f"artifact of {name}")
    return _unknown(".".join(asked), _TASK_FACTS | {"outputs.result", "outputs.parameters"})


def _unknown(name: str, known: Iterable[str], what: str = "") -> _Problem:
    there = sorted(known)
    message = f"is unknown: there is no {what} {name!r}" if what else f"is unknown: there is no {name!r}"
    near = did_you_mean(name, there)
    return message, near or (f"there is {', '.join(there)}" if there else "there is none at all")
