"""Which keys go with which kind of job, and keys that people write but that do not exist here (yet)."""

from typing import Final

from rota.jobfile.fields import WHAT_KEYS

# Where each kind of job may use a key that not every kind has.
ONLY_FOR: Final = {
    "stdin": ("shell",),
    "user": ("shell",),
    "cwd": ("shell", "python"),
    "env": ("shell", "python"),
    "secrets": ("shell", "python"),
    "kill-grace": ("shell", "python"),
    "with": ("python",),
    "venv": ("python",),
    "interpreter": ("python",),
}

NOT_IN_DEFAULTS: Final = frozenset({*WHAT_KEYS, "title", "at", "stdin", "with"})

LATER_KEYS: Final = frozenset(
    {
        "container", "sql", "steps", "after", "calendar", "for-each", "place", "resources", "limits", "window",
        "deadline", "share", "slow-after", "remove-after", "approve", "trigger", "queue-timeout", "save-as", "pool",
        "exclusive", "priority", "expect-ping", "only-after", "body-file", "artifacts", "rate", "day-match", "inputs",
    }
)  # fmt: skip

# Words that other schedulers use, and what they are called here.
OTHER_WORDS: Final = {
    "cron": "schedule",
    "every": "schedule",
    "interval": "schedule",
    "when": "schedule",
    "run-at": "at",
    "tz": "timezone",
    "time-zone": "timezone",
    "zone": "timezone",
    "command": "shell",
    "cmd": "shell",
    "script": "shell",
    "run": "shell",
    "url": "http",
    "retries": "retry",
    "concurrency": "overlap",
    "catchup": "missed",
    "catch-up": "missed",
    "environment": "env",
    "tags": "labels",
    "name": "title",
    "description": "title",
    "args": "with",
    "arguments": "with",
    "run-as": "user",
    "workdir": "cwd",
    "working-directory": "cwd",
    "dir": "cwd",
    "enabled": "paused",
    "disabled": "paused",
    "notify": "alert",
    "alerts": "alert",
    "email": "alert",
    "attempts": "tries",
    "delay": "wait",
    "backoff": "wait",
    "retention": "keep",
}
