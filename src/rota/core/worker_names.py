"""Names and labels of workers: what they may look like, wherever they come from (settings, tokens, hellos)."""

import re
from collections.abc import Mapping
from typing import Final

from rota.core.errors import Invalid

MOST_LABELS: Final = 32
LONGEST_LABEL: Final = 128
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}", re.ASCII)


def check_worker_name(name: str) -> str:
    """`name` if a worker can be called so; raises Invalid."""
    if not _NAME.fullmatch(name):
        hint = "letters, digits, dot, dash and underscore, beginning with a letter or digit, at most 63"
        raise Invalid(f"{_shown(name)} is not a name for a worker", hint=hint)
    return name


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """`labels` if a worker can have them; raises Invalid."""
    if len(labels) > MOST_LABELS:
        raise Invalid(f"{len(labels)} labels; a worker has at most {MOST_LABELS}")
    for name, text in labels.items():
        if not _LABEL.fullmatch(name):
            hint = "letters, digits, dot, dash, underscore and slash, beginning with a letter or digit, at most 63"
            raise Invalid(f"{_shown(name)} is not the name of a label", hint=hint)
        if not text or len(text) > LONGEST_LABEL or not text.isprintable():
            hint = f"1 to {LONGEST_LABEL} printable characters"
            raise Invalid(f"label {name} has the value {_shown(text)}, which cannot be one", hint=hint)
    return dict(labels)


def _shown(text: str) -> str:
    """A received text as far as it can be shown."""
    plain = "".join(char if char.isprintable() else "·" for char in text[:60])
    return f'"{plain}"' + ("…" if len(text) > 60 else "")
