"""The codes of everything that can be wrong with a job file, and what each means.

A code never changes its meaning and is never used again. `rota explain CODE` and the page of errors are made from
this table.
"""

from typing import Final

import msgspec


class Code(msgspec.Struct, frozen=True):
    """What a code means and what a person can do about it."""

    title: str
    explanation: str


CODES: Final[dict[str, Code]] = {
    # ── the file as a text ──
    "E0101": Code("the file cannot be read", "The path does not exist, is not a file, or may not be read."),
    "E0102": Code("the file is too large", "A job file holds at most 5 MiB and 300,000 values. Split it by namespace."),
    "E0103": Code("the file is not plain text", "Job files are UTF-8 text without control characters."),
    "E0104": Code("the file is not YAML", "The YAML 1.2 or JSON syntax is broken. Nothing after the place was read."),
    "E0105": Code(
        "a value needs quotes",
        'In YAML a value that starts with *, @, %, ` or ! has a meaning of its own. Write it in quotes: "*/5 * * * *".',
    ),
    "E0106": Code("a key is given twice", "Only one of the two could count; delete or rename the other."),
    "E0107": Code("tags are not allowed", "A job file is data. Tags such as !!python/object are never obeyed."),
    "E0108": Code("a file holds one document", "Put the part after --- into its own file."),
    "E0109": Code("nested too deep", "A job file may be nested 32 levels deep."),
    "E0110": Code("too many aliases", "Anchors and aliases may be used, up to 100 aliases and 100,000 values in all."),
    "E0111": Code("a number out of range", "Numbers must be finite and fit into 64 bits."),
    "E0112": Code("the file is empty", "A job file holds at least version and jobs."),
    # ── keys and names ──
    "E0140": Code("the version is missing or unknown", "Write version: 1 at the top of a job file."),
    "E0141": Code("the value has another shape", "A map, a list or a plain value was expected here."),
    "E0142": Code(
        "unknown key", "The key does not exist here. The message lists the keys that do, the nearest one first."
    ),
    "E0143": Code("the key comes with a later version", "The key is reserved and cannot be used in this version."),
    "E0144": Code("a key is missing", "The key is required here."),
    "E0145": Code("exactly one of http, shell, python", "A job runs one thing. Use one job for each thing to be run."),
    "E0146": Code(
        "the name is not allowed",
        "Names consist of a–z, 0–9, dot, dash and underscore, start with a letter or digit and are at most 100 long.",
    ),
    "E0147": Code("the job is defined twice", "Job names are unique in their namespace, across all files."),
    "E0148": Code("the keys do not go together", "The message says which key belongs to which kind of job."),
    # ── values ──
    "E0201": Code("not a duration", "A duration has a unit: 500ms, 30s, 5m, 2h, 1d, 1w; parts can be joined: 1h30m."),
    "E0202": Code("not a size", "A size has a unit: 64KiB, 10MiB, 2GiB."),
    "E0203": Code("not a percentage", "A percentage is written 20%."),
    "E0204": Code("not a number in range", "A whole number within the named limits was expected."),
    "E0205": Code("not one of the choices", "The message lists the values that are known here."),
    "E0206": Code("the schedule cannot be read", "It is neither a cron expression nor one of the phrases."),
    "E0207": Code("at needs a date and a time", "at is for jobs that run once: 2026-12-05 22:00."),
    "E0208": Code("unknown time zone", "Time zones are named as in the tz database: Europe/Berlin, UTC."),
    "E0209": Code("not an alert target", "A target is channel:target, for example mail:ops@example.com."),
    "E0210": Code("unknown ${…} value", "Only the listed values exist; params must be declared under params."),
    "E0211": Code("the environment name is not allowed", "LD_*, BASH_ENV and ROTA_* cannot be set by a job."),
    "E0212": Code(
        "not a url that can be fetched", "The url starts with http:// or https://, names a host, has no password."
    ),
    "E0213": Code("not a header", "A header has a name of letters, digits and dashes and a value without line breaks."),
    "E0214": Code("not an expectation", "The message shows the forms that an expectation can have."),
    "E0215": Code("not a python function", "Write package.module:function."),
    "E0216": Code("not a usable text", "The text is empty, too long, has a line break or holds a NUL character."),
    "E0217": Code("not a usable path", "The path must be absolute or start with ~/."),
    "E0218": Code("the policy cannot be read", "The message shows the forms of the policy."),
    "E0219": Code("the policies contradict each other", "The message says which two, and what to change."),
    # ── warnings ──
    "W0201": Code("the schedule has a surprise", "It is uneven, rare, or falls into a clock change."),
    "W0202": Code("the job will never run", "Its last instant has passed."),
    "W0203": Code("nothing will be told", "alert has no target, so nobody hears of a failure."),
    "W0204": Code("the folder holds no job files", "Job files are named *.yaml or *.yml."),
}
