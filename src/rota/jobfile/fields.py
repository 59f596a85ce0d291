"""Every key of a job file: where it stands, what it takes, its default, an example, what it means.

These tables (and those of `part_fields`) decide which keys are known, and feed the messages about unknown ones, the
JSON Schema and the page docs/reference/job-file.md.
"""

from typing import Final, Literal

import msgspec

Shape = Literal["text", "map", "list", "number", "flag", "value", "texts"]


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One key. `example` is the YAML of its value, `takes` what the page says about it."""

    name: str
    shape: Shape
    takes: str
    default: str = "—"
    example: str
    meaning: str


def table(*fields: Field) -> dict[str, Field]:
    return {field.name: field for field in fields}


FILE_KEYS: Final = table(
    Field(name="version", shape="number", takes="1", example="1", meaning="The version of the file format. Required."),
    Field(
        name="namespace",
        shape="text",
        takes="a name",
        default="default",
        example="web",
        meaning="The team's or tenant's space; job names are unique in it.",
    ),
    Field(
        name="defaults",
        shape="map",
        takes="keys of a job",
        example="{ timezone: Europe/Berlin }",
        meaning="What holds for every job of this file that does not say otherwise. Maps are joined key by key.",
    ),
    Field(
        name="jobs",
        shape="map",
        takes="name → job",
        example='{ hello: { shell: "echo hello" } }',
        meaning="The jobs. Names consist of a–z, 0–9, dot, dash and underscore.",
    ),
)

WHAT_KEYS: Final = table(
    Field(
        name="http",
        shape="map",
        takes="a request",
        example='{ get: "https://example.com/?day=${due.date}" }',
        meaning="One HTTP request.",
    ),
    Field(name="shell", shape="text", takes="a script", example="./backup.sh --all", meaning="A script for /bin/sh."),
    Field(
        name="python",
        shape="text",
        takes="package.module:function",
        example="partners.sync:run",
        meaning="A function, called in a warm process of the chosen interpreter.",
    ),
)

_WHEN: Final = table(
    Field(
        name="schedule",
        shape="text",
        takes="cron or a phrase",
        default="none: started by hand or API only",
        example="every day at 03:00",
        meaning='When the job is due. A cron expression stands in quotes: `"*/5 * * * *"`.',
    ),
    Field(
        name="at",
        shape="text",
        takes="date and time",
        example="2026-12-05 22:00",
        meaning="For a job that runs once. Not together with `schedule`.",
    ),
    Field(
        name="timezone",
        shape="text",
        takes="a name of the tz database",
        default="UTC",
        example="Europe/Berlin",
        meaning="The zone in which `schedule` and `at` are read.",
    ),
    Field(
        name="dst",
        shape="text",
        takes="`vixie`, `skip`, `run-twice` or `second`",
        default="vixie",
        example="vixie",
        meaning="What becomes of a local time that a clock change leaves out or repeats.",
    ),
)

_ABOUT: Final = table(
    Field(
        name="title", shape="text", takes="one line", example="ECB exchange rates", meaning="What people call the job."
    ),
    Field(name="owner", shape="text", takes="one line", example="team-finance", meaning="Who answers for the job."),
    Field(
        name="labels",
        shape="map",
        takes="name → text",
        default="none",
        example="{ tier: 1, area: billing }",
        meaning="For finding and grouping jobs.",
    ),
)

_LIMITS: Final = table(
    Field(
        name="timeout",
        shape="text",
        takes="a duration, or `none`",
        default="60s for http, none for shell and python",
        example="30s",
        meaning="How long one attempt may take before it is ended.",
    ),
    Field(
        name="kill-grace",
        shape="text",
        takes="a duration",
        default="10s",
        example="10s",
        meaning="Time between TERM and KILL when an attempt is ended.",
    ),
    Field(
        name="log-limit",
        shape="text",
        takes="a size",
        default="10MiB",
        example="50MiB",
        meaning="Output kept per attempt; of more, the first and the last part are kept.",
    ),
)

_POLICIES: Final = table(
    Field(
        name="retry",
        shape="map",
        takes="see below",
        default="{ tries: 1 }",
        example="{ tries: 4, wait: 30s..10m, jitter: 20%, when: [timeout, connect, http-5xx] }",
        meaning="Whether and when a failed attempt is tried again.",
    ),
    Field(
        name="overlap",
        shape="text",
        takes="`skip`, `queue`, `queue-latest`, `replace` or `allow`",
        default="skip",
        example="skip",
        meaning="What happens to a due run while an earlier run of the job is unfinished.",
    ),
    Field(
        name="missed",
        shape="text",
        takes="`skip`, `run-latest [within D]` or `run-all [within D] [at most N]`",
        default="run-latest within 1h",
        example="run-all within 1d at most 50",
        meaning="Which instants that passed unanswered are run afterwards. Without `within`, however old.",
    ),
    Field(
        name="delivery",
        shape="text",
        takes="`at-least-once` or `at-most-once`",
        default="at-least-once",
        example="at-most-once",
        meaning="Whether an attempt whose outcome is not known is started again. At most once goes with one try only.",
    ),
    Field(
        name="on-disconnect",
        shape="text",
        takes="`stop` or `continue for D`",
        default="stop",
        example="continue for 5m",
        meaning="What a worker does with the attempt when it loses its server.",
    ),
)

_TELLING: Final = table(
    Field(
        name="late-after",
        shape="text",
        takes="a duration, or `none`",
        default="none",
        example="20m",
        meaning="Without success this long after the due time the job is late.",
    ),
    Field(
        name="alert",
        shape="map",
        takes="see below",
        default="nobody is told",
        example='{ to: ["mail:ops@example.com"], when: [failed, late, missed, recovered] }',
        meaning="Who is told, and of what.",
    ),
    Field(
        name="keep",
        shape="map",
        takes="see below",
        default="the server's limits",
        example="{ history: 30d, logs: 7d }",
        meaning="How long history and logs are kept; may only be shorter than the server's own limits.",
    ),
)

_SURROUNDINGS: Final = table(
    Field(
        name="env",
        shape="map",
        takes="NAME → text",
        default="none",
        example="{ LANG: C.UTF-8 }",
        meaning="Environment of shell and python jobs. LD_*, BASH_ENV and ROTA_* cannot be set.",
    ),
    Field(
        name="secrets",
        shape="map",
        takes="NAME → name of a secret",
        default="none",
        example="{ DB_PASSWORD: ORDERS_DB }",
        meaning="Environment whose values come from `rota secret set`. An http job uses `${secret.NAME}` instead.",
    ),
    Field(
        name="params",
        shape="map",
        takes="name → default text",
        default="none",
        example="{ day: today }",
        meaning="Values that a run may be started with: `ROTA_PARAM_DAY` in the environment, `${params.day}` in http.",
    ),
    Field(
        name="cwd",
        shape="text",
        takes="an absolute path, `~` or `~/…`",
        default="a private temporary folder",
        example="/srv/app",
        meaning="Working folder of shell and python jobs.",
    ),
    Field(
        name="user",
        shape="text",
        takes="a user name",
        default="the worker's own user",
        example="deploy",
        meaning="Who a shell job runs as; the worker must allow it.",
    ),
    Field(
        name="stdin",
        shape="text",
        takes="a text",
        default="nothing",
        example='"first line\\n"',
        meaning="Standard input of a shell job.",
    ),
    Field(
        name="with",
        shape="map",
        takes="name → any value",
        default="none",
        example="{ partner: acme, full: true }",
        meaning="Arguments of a python function.",
    ),
    Field(
        name="venv",
        shape="text",
        takes="a folder",
        default="none",
        example="/srv/app/.venv",
        meaning="The virtual environment of a python job. Not together with `interpreter`.",
    ),
    Field(
        name="interpreter",
        shape="text",
        takes="a path",
        default="the worker's python3",
        example="/usr/bin/python3",
        meaning="The interpreter of a python job.",
    ),
)

_STATE: Final = table(
    Field(
        name="shadow",
        shape="flag",
        takes="true or false",
        default="false",
        example="true",
        meaning="Instants are recorded as skipped; nothing runs.",
    ),
    Field(
        name="paused",
        shape="flag",
        takes="true or false",
        default="false",
        example="true",
        meaning="Whether the job is paused when it is first applied.",
    ),
)

JOB_KEYS: Final = {
    **_WHEN,
    **WHAT_KEYS,
    **_LIMITS,
    **_POLICIES,
    **_TELLING,
    **_SURROUNDINGS,
    **_ABOUT,
    **_STATE,
}
