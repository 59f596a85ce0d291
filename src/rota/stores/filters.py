"""Queries of people as conditions of SQL: fixed fragments, and every value that was typed a bound parameter.

Adapters differ in a handful of expressions, which their `Dialect` holds. Parameters are question marks here.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Self

from rota.core.errors import Invalid
from rota.core.model import RunState
from rota.store.views import JobQuery, RunQuery
from rota.stores.rows import to_micros

LONGEST_PATTERN: Final = 1_000
TROUBLE: Final = frozenset({RunState.FAILED, RunState.TIMED_OUT, RunState.CANCELLED, RunState.MISSED, RunState.LOST})
# Word for word the condition of the partial indexes, so that the planners use them.
_TROUBLE_ONLY: Final = "run.state <> 'succeeded' AND run.state <> 'skipped'"
_MARK: Final = "/* conditions */"
_MICROS: Final = 1_000_000

_JOB_CONDITIONS: Final = {
    "paused": "job.pause IS NOT NULL",
    "failing": "coalesce(kept.fails_in_row, 0) > 0",
    "late": "kept.late_since IS NOT NULL",
    "broken": "job.broken IS NOT NULL",
    "new": "kept.last_run IS NULL",
    "shadow": "job.shadow",
}


class Dialect(NamedTuple):
    """What databases write differently. In fragments `{}` is the column and each question mark a parameter."""

    among: str  # the column is one of a list
    pack: Callable[[list[Any]], Any]  # the list as a parameter
    like: str  # the column matches a pattern
    pattern: Callable[[str], str]  # a glob, which knows `*` only, as such a pattern
    contains: str  # the column has the case-folded text in it
    job_text: str  # the job has the case-folded text in its name, title or schedule
    labelled: str  # the labels have this key with this value
    namespace_of: str  # the namespace in a full name
    seconds: str  # a number of microseconds, to be compared
    holds: Callable[[str], bool]  # whether the database can hold the text at all; if not, nothing in it equals it


class Conditions:
    """Fragments joined by AND, with their parameters in order."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._fragments: list[str] = []
        self._parameters: list[Any] = []

    def add(self, fragment: str, *parameters: Any) -> Self:
        """Add a fragment with as many parameters as it has question marks."""
        if all(self._holds(value) for value in parameters):
            self._fragments.append(f"({fragment})")
            self._parameters += parameters
        else:
            self._fragments.append("FALSE")
        return self

    def add_any(self, fragments: Iterable[tuple[str, Any]], *, negate: bool = False) -> None:
        """Add fragments of one parameter each, joined by OR."""
        pairs = list(fragments)
        possible = [pair for pair in pairs if self._holds(pair[1])]
        if possible:
            joined = " OR ".join(fragment for fragment, _ in possible)
            self.add(f"NOT ({joined})" if negate else joined, *(value for _, value in possible))
        elif pairs and not negate:
            self.add("FALSE")

    def add_in(self, column: str, values: Iterable[Any]) -> None:
        """Add that the column is one of the values; no values, no condition."""
        found = list(values)
        if found:
            possible = [value for value in found if self._holds(value)]
            self.add(self.dialect.among.format(column), self.dialect.pack(possible))

    def copy(self) -> "Conditions":
        """The same conditions, to be narrowed further."""
        other = Conditions(self.dialect)
        other._fragments = self._fragments.copy()
        other._parameters = self._parameters.copy()
        return other

    def of(self, statement: str, limit: int) -> tuple[str, list[Any]]:
        """The statement with the conditions in their place, and all parameters; the limit comes last."""
        text = "".join(f" AND {fragment}" for fragment in self._fragments)
        return statement.replace(_MARK, text), [*self._parameters, limit]

    def _holds(self, value: Any) -> bool:
        return not isinstance(value, str) or self.dialect.holds(value)


def job_conditions(query: JobQuery, dialect: Dialect) -> Conditions:
    """A query for jobs; the statement calls them `job` and their counters `kept`."""
    found = Conditions(dialect)
    found.add_in("job.namespace", query.namespaces)
    found.add_any(_name_match(dialect, "job.full_name", glob) for glob in query.names)
    found.add_any((_name_match(dialect, "job.full_name", glob) for glob in query.not_names), negate=True)
    found.add_in("kept.last_state", (state.value for state in query.last_states))
    if query.conditions:
        found.add(" OR ".join(_job_condition(name) for name in query.conditions))
    for key, value in query.labels.items():
        found.add(dialect.labelled.format("job.labels"), key, value)
    if query.owner is not None:
        found.add("job.owner = ?", query.owner)
    if query.source is not None:
        found.add("job.source = ?", query.source)
    if query.text is not None:
        text = query.text.casefold()
        found.add(dialect.job_text, *[text] * dialect.job_text.count("?"))
    return found


def run_conditions(query: RunQuery, dialect: Dialect) -> Conditions:
    """A query for runs; the statement calls them `run`."""
    found = Conditions(dialect).add("run.due >= ?", to_micros(query.since))
    if query.until is not None:
        found.add("run.due <= ?", to_micros(query.until))
    found.add_in(dialect.namespace_of.format("run.job"), query.namespaces)
    if len(query.jobs) == 1 and is_exact(query.jobs[0]):
        # An equality lets the job's own index serve, in order.
        found.add("run.job_id = (SELECT id FROM jobs WHERE full_name = ?)", query.jobs[0])
    else:
        found.add_any(_name_match(dialect, "run.job", glob) for glob in query.jobs)
    found.add_any((_name_match(dialect, "run.job", glob) for glob in query.not_jobs), negate=True)
    add_states(found, query.states)
    found.add_in('run."trigger"', (trigger.value for trigger in query.triggers))
    found.add_in("run.worker", query.workers)
    found.add_in("run.exit", query.exits)
    if query.longer_than is not None:
        found.add(f"run.finished - run.started > {dialect.seconds}", query.longer_than * _MICROS)
    if query.shorter_than is not None:
        found.add(f"run.finished - run.started < {dialect.seconds}", query.shorter_than * _MICROS)
    if query.text is not None:
        found.add(dialect.contains.format("run.error"), query.text.casefold())
    return found


def add_states(conditions: Conditions, states: Iterable[RunState]) -> None:
    """Add that the run is in one of these states (none given: in any)."""
    wanted = set(states)
    conditions.add_in("run.state", sorted(state.value for state in wanted))
    if wanted and wanted <= TROUBLE:
        conditions.add(_TROUBLE_ONLY)


def is_exact(glob: str) -> bool:
    """Whether a pattern names one thing."""
    return "*" not in glob and "/" in glob


def _name_match(dialect: Dialect, column: str, glob: str) -> tuple[str, str]:
    """A pattern over ns/name, or over the name when it has no slash."""
    if len(glob) > LONGEST_PATTERN:
        raise Invalid(f"a pattern of {len(glob)} characters is longer than {LONGEST_PATTERN}")
    while "**" in glob:
        glob = glob.replace("**", "*")
    return dialect.like.format(column), dialect.pattern(glob if "/" in glob else f"*/{glob}")


def _job_condition(name: str) -> str:
    """The fragment of a condition's name."""
    fragment = _JOB_CONDITIONS.get(name)
    if fragment is None:
        raise Invalid(f"there is no condition {name!r}", hint=f"one of: {', '.join(_JOB_CONDITIONS)}")
    return fragment
