"""Plain values → YAML lines that read well and mean exactly the same when read again."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from rota.jobfile.document import plain_value

_WIDTH: Final = 100
# Plain scalars: nothing that could be a sign of YAML, in a block or inside braces.
_SAFE: Final = re.compile(r"[A-Za-z0-9_/.~](?:[A-Za-z0-9_/.~@%+=()$;|^ -]|:(?=[^\s]))*", re.ASCII)
_BLOCK: Final = re.compile("[\n\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]+")


def yaml_lines(values: Mapping[str, Any], indent: str = "") -> list[str]:
    """The lines of a map in block style; small maps and lists inside stand in braces on one line."""
    lines: list[str] = []
    for key, value in values.items():
        lines += _entry(_key(key), value, indent)
    return lines


def _entry(key: str, value: Any, indent: str) -> list[str]:
    if isinstance(value, str) and "\n" in value.rstrip("\n") and _fits_block(value):
        # |+ keeps every line end, |- none, | exactly one.
        ends = len(value) - len(value.rstrip("\n"))
        sign = "|-" if ends == 0 else "|" if ends == 1 else "|+"
        return [f"{indent}{key}: {sign}", *(f"{indent}  {line}" if line else "" for line in _block_lines(value))]
    if isinstance(value, Mapping) and value:
        flow = f"{indent}{key}: {_flow(value)}"
        if len(flow) > _WIDTH or _has_parts(value):
            return [f"{indent}{key}:", *yaml_lines(value, indent + "  ")]
        return [flow]
    return [f"{indent}{key}: {_flow(value)}"]


def _block_lines(value: str) -> list[str]:
    lines = value.split("\n")
    return lines[:-1] if value.endswith("\n") else lines


def _fits_block(value: str) -> bool:
    """Whether a text can stand as it is: no odd characters, no line that begins the block with a space or is blank."""
    lines = value.split("\n")
    first = lines[0]
    blanks = any(line and not line.strip() for line in lines)
    return bool(_BLOCK.fullmatch(value)) and first.strip() == first and bool(first) and not blanks


def _has_parts(value: Mapping[str, Any]) -> bool:
    """Maps of jobs and texts of several lines are easier to read one below the other."""
    return any(isinstance(inner, Mapping) and len(inner) > 2 for inner in value.values()) or any(
        isinstance(inner, str) and "\n" in inner.rstrip("\n") for inner in value.values()
    )


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(key)}: {_flow(inner)}" for key, inner in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_flow(inner) for inner in value)}]"
    if isinstance(value, str):
        return _text(value)
    return json.dumps(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", key, re.ASCII) and _is_text(key) else _quoted(key)


def _text(value: str) -> str:
    plain = _SAFE.fullmatch(value) and _is_text(value) and not value.endswith((" ", ":")) and " #" not in value
    return value if plain else _quoted(value)


def _is_text(value: str) -> bool:
    return isinstance(plain_value(value), str)


def _quoted(value: str) -> str:
    """JSON's quotes are YAML's, but for the characters that YAML wants escaped."""
    return re.sub("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]", _escaped, json.dumps(value, ensure_ascii=False))


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
