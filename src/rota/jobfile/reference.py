"""The reference pages that are made from tables: every key of a job file, every code of a problem."""

from collections.abc import Iterable, Mapping
from typing import Final

from rota.core.retry import FAILURE_KINDS, NEVER_RETRIED
from rota.core.template import FIXED_NAMES
from rota.jobfile.codes import CODES
from rota.jobfile.fields import FILE_KEYS, JOB_KEYS, Field
from rota.jobfile.other_keys import LATER_KEYS, NOT_IN_DEFAULTS, ONLY_FOR
from rota.jobfile.part_fields import ALERT_KEYS, EXPECT_KEYS, HTTP_KEYS, KEEP_KEYS, RETRY_KEYS

TABLES: Final[dict[str, tuple[str, Mapping[str, Field]]]] = {
    "": ("The file", FILE_KEYS),
    "job": ("A job", JOB_KEYS),
    "http": ("http", HTTP_KEYS),
    "http.expect": ("http.expect", EXPECT_KEYS),
    "retry": ("retry", RETRY_KEYS),
    "alert": ("alert", ALERT_KEYS),
    "keep": ("keep", KEEP_KEYS),
}

_INTRODUCTION: Final = """\
# The job file

<!-- Made by scripts/write_reference.py from the tables in src/rota/jobfile: edit those. -->

A job file is YAML 1.2 or JSON in UTF-8, at most 5 MiB. `rota check PATH` reads files and folders (`*.yaml`, `*.yml` at
every depth, hidden files left out) and tells everything that is wrong in one pass; `rota new NAME` writes a commented
example; the codes of problems are explained in [errors.md](errors.md).

```yaml
version: 1
namespace: web
defaults: { timezone: Europe/Berlin }
jobs:
  fetch-homepage:
    schedule: every day at 03:00
    http: { get: "https://example.com/?day=${due.date}", expect: { status: 200 } }
    timeout: 30s
    retry: { tries: 4, wait: 30s..10m }
    late-after: 20m
    alert: { to: ["mail:ops@example.com"], when: [failed, late, missed, recovered] }
```

- Dates and times are texts, `yes` and `on` are texts, `true` and `false` are the two truth values.
- A value that begins with `*`, `@`, `%` or a back-tick stands in quotes: `schedule: "*/5 * * * *"`.
- A key may be given once. Unknown keys, tags and a second document in the file are errors.
- Names of jobs and namespaces consist of a–z, 0–9, dot, dash and underscore, begin with a letter or digit and are at
  most 100 characters long.

## Units

| What | How it is written |
|---|---|
| Duration | a number with `ms`, `s`, `m`, `h`, `d` or `w`; joined: `1h30m`; a range: `30s..10m` |
| Size | a number with `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024) or `kB`, `MB`, `GB`, `TB` (of 1000) |
| Percentage | `20%` |

A bare number is refused where a unit is meant.
"""


def job_file_page() -> str:
    """docs/reference/job-file.md."""
    lines = [_INTRODUCTION.rstrip("\n")]
    for title, table in TABLES.values():
        lines += ["", f"## {title}", "", *_table(table.values())]
    lines += ["", "## Which keys go together", "", *_rules()]
    lines += ["", "## Values in text", "", *_values()]
    lines += ["", "## Kinds of failure", "", "For `retry.when`:", "", *_failures()]
    return "\n".join(lines) + "\n"


def errors_page() -> str:
    """docs/reference/errors.md."""
    lines = [
        "# Problems of job files",
        "",
        "<!-- Made by scripts/write_reference.py from src/rota/jobfile/codes.py: edit that. -->",
        "",
        "Codes that begin with E keep a file from being applied; those with W are warnings. A code never changes its",
        "meaning. `rota explain CODE` shows the same text.",
        "",
        "| Code | What | What it means and what to do |",
        "|---|---|---|",
    ]
    lines += [f"| {code} | {_cell(entry.title)} | {_cell(entry.explanation)} |" for code, entry in CODES.items()]
    return "\n".join(lines) + "\n"


def _table(fields: Iterable[Field]) -> list[str]:
    rows = ["| Key | Takes | Default | Example | Meaning |", "|---|---|---|---|---|"]
    for field in fields:
        example = f"`{field.name}: {field.example}`"
        cells = [f"`{field.name}`", field.takes, field.default, example, field.meaning]
        rows.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return rows


def _rules() -> list[str]:
    fits = [f"- `{key}` belongs to {' and '.join(kinds)} jobs." for key, kinds in ONLY_FOR.items()]
    no_defaults = ", ".join(f"`{key}`" for key in JOB_KEYS if key in NOT_IN_DEFAULTS)
    later = ", ".join(f"`{key}`" for key in sorted(LATER_KEYS))
    return [
        "- A job has exactly one of `http`, `shell`, `python`.",
        "- `schedule` and `at` exclude each other; without both the job is started by hand or over the API.",
        "- `delivery: at-most-once` goes with one try only.",
        *fits,
        f"- Not in `defaults`: {no_defaults}. A default that does not fit a kind of job is left out for it.",
        f"- Reserved for later versions: {later}.",
    ]


def _values() -> list[str]:
    return [
        "In `http`: the url, the values of `headers`, `body` and texts in `json`. One pass, no code; an unknown name",
        "is an error. `$${` stands for a literal `${`. Shell and python jobs get the same facts in the environment.",
        "",
        "| Value | Meaning |",
        "|---|---|",
        *(f"| `${{{name}}}` | {_cell(meaning)} |" for name, meaning in FIXED_NAMES.items()),
        "| `${params.NAME}` | a value declared under `params`; the run may have been started with another |",
        "| `${secret.NAME}` | a secret by its name in `rota secret set`; masked in output |",
    ]


def _failures() -> list[str]:
    kinds = [f"| `{kind}` | {_cell(meaning)} |" for kind, meaning in FAILURE_KINDS.items() if kind not in NEVER_RETRIED]
    return ["| Kind | Meaning |", "|---|---|", *kinds]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
