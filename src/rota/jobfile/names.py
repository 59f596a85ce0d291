"""Names of jobs, namespaces, labels and params: what is allowed, and a clear word about what only looks allowed."""

import re
import unicodedata
from typing import Final

from rota.jobfile.document import Scalar
from rota.jobfile.reading import Reading

LONGEST_NAME: Final = 100
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*", re.ASCII)
PARAM_NAME: Final = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
SECRET_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}", re.ASCII)

# Cyrillic and Greek letters that print like Latin ones.
_LOOKS_LIKE: Final = str.maketrans(
    "аеорсухіјѕԁһӏмтвнкгпАВЕКМНОРСТХУІЈЅοαιυνρκτΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcyxijsdhlmtbhkrnabekmhopctxyijsoaiuvpktabezhikmnoptyx",
)


def check_name(reading: Reading, key: Scalar, what: str) -> str | None:
    """The name in `key`, or None with the reason noted."""
    name = key.text
    problem, fix = name_problem(name)
    if problem is None:
        return name
    shown = name if len(name) <= 40 else name[:37] + "…"
    label = f'write "{fix}"' if fix else ""
    help_line = "names consist of a–z, 0–9, dot, dash and underscore"
    reading.wrong("E0146", f'{what} "{shown}" is not allowed: {problem}', key, label=label, help=[help_line])
    return None


def name_problem(name: str) -> tuple[str | None, str]:
    """Why `name` is not allowed (None when it is), and an allowed name that may have been meant."""
    if not name:
        return "it is empty", ""
    if len(name) > LONGEST_NAME:
        return f"it is longer than {LONGEST_NAME} characters", ""
    if NAME.fullmatch(name):
        return None, ""
    folded = unicodedata.normalize("NFC", name)
    fix = safe_name(folded)
    for char in folded:
        reason = _strange(char)
        if reason:
            return reason, fix
    if folded.lower() != folded and NAME.fullmatch(folded.lower()):
        return "it has capital letters", folded.lower()
    if folded[0] in "._-":
        return "it does not begin with a letter or digit", fix
    wrong = next(char for char in folded if not (char.isascii() and (char.isalnum() or char in "._-")))
    return ("it has a space" if wrong == " " else f"it has {_name_char(wrong)}"), fix


def safe_name(text: str) -> str:
    """The nearest allowed name, "" when nothing is left of `text`."""
    plain = "".join(char for char in text if unicodedata.category(char) not in ("Cf", "Cc", "Mn"))
    plain = unicodedata.normalize("NFKD", plain.translate(_LOOKS_LIKE)).lower()
    plain = "".join(char for char in plain if unicodedata.category(char) != "Mn")
    return re.sub(r"[^a-z0-9._]+", "-", plain).strip("-._")[:LONGEST_NAME].rstrip("-._")


def _strange(char: str) -> str:
    """Why a character is not what it seems; "" for an honest one."""
    if char.isascii() and char.isprintable():
        return ""
    category = unicodedata.category(char)
    if category in ("Cf", "Zs", "Cc", "Mn"):
        return f"it has the invisible character {_name_char(char)}"
    twin = char.translate(_LOOKS_LIKE)
    if twin != char and twin.isascii():
        return f'it has {_name_char(char)}, which only looks like "{twin}"'
    folded = unicodedata.normalize("NFKC", char)
    if folded != char and folded.isascii():
        return f'it has {_name_char(char)}, which only looks like "{folded}"'
    return ""


def _name_char(char: str) -> str:
    name = unicodedata.name(char, "")
    shown = f'"{char}" ' if char.isprintable() else ""
    return f"{shown}(U+{ord(char):04X}{' ' + name if name and not char.isascii() else ''})"
