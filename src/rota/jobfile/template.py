"""The commented job file that `rota new NAME` writes: valid as it is, and a tour of what can be said."""

from typing import Final

from rota.core.errors import Invalid
from rota.core.schedule import check_timezone
from rota.jobfile.names import name_problem
from rota.jobfile.parse import DEFAULT_NAMESPACE

_TEXT: Final = """\
# A job file of Rota. Check it with: rota check FILE    See what it would change: rota plan FILE
version: 1
namespace: {namespace}

defaults:                             # for every job of this file that does not say otherwise
  timezone: {timezone}

jobs:

  {name}:
    title: Fetch a page every day     # what people call it
    schedule: every day at 03:00      # or a cron expression, in quotes: "0 3 * * *"

    # Exactly one of http, shell, python says what runs.
    http:
      get: "https://example.com/?day=${{due.date}}"
      expect: {{ status: 200 }}         # also: json: "$.ok == true", body: Welcome, max-body: 2MiB
    # shell: ./backup.sh --all
    # python: package.module:function

    timeout: 30s                      # for one attempt
    retry: {{ tries: 4, wait: 30s..10m }}   # four attempts in all, with a growing wait between them
    late-after: 20m                   # no success by then: the job is late

    # What happens to a run while the last one still runs: skip, queue, queue-latest, replace, allow
    overlap: skip
    # What happens to instants that were missed: skip, run-latest within 1h, run-all within 1d
    missed: run-latest within 1h

    # Who is told: failed, late, missed, recovered, output
    # alert: {{ to: ["mail:you@example.com"], when: [failed, late, missed, recovered] }}

    # For shell and python: secrets by name (rota secret set NAME) and plain environment
    # secrets: {{ DB_PASSWORD: ORDERS_DB }}
    # env: {{ LANG: C.UTF-8 }}
"""


def new_job_file(name: str, timezone: str) -> str:
    """A job file with one job, `name` or `namespace/name`; raises Invalid for a name or zone that cannot be."""
    namespace, slash, job = name.rpartition("/")
    for part in (job, *([namespace] if slash else [])):
        problem, fix = name_problem(part)
        if problem:
            hint = f"write {fix}" if fix else "names consist of a–z, 0–9, dot, dash and underscore"
            raise Invalid(f'the name "{part[:40]}" is not allowed: {problem}', hint=hint)
    return _TEXT.format(name=job, namespace=namespace or DEFAULT_NAMESPACE, timezone=check_timezone(timezone))
