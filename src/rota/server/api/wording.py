"""What a value lacks that came with a request, in words: the library that checks it names types of its own."""

import re
from typing import Final

_EXPECTED: Final = re.compile(
    r"Expected `(?P<kinds>[^`]+)`"
    r"(?: (?P<limit><=|>=|<|>) (?P<bound>\S+)| of length (?P<most><=|>=) (?P<length>\d+)|, got `[^`]+`)?",
)
_PLACE: Final = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")
_KEY: Final = re.compile(r"Object (?P<what>contains unknown|missing required) field `(?P<name>[^`]*)`")
_KINDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "datetime": "an instant",
    "null": "null",
}
_LIMITS: Final = {"<=": "at most", ">=": "at least", "<": "less than", ">": "more than"}
_PARTS: Final = {"str": "characters", "array": "items", "object": "keys"}


def in_words(error: Exception, part: str = "key") -> str:
    """What is wrong; `part` is what a named thing in the request is called."""
    found = _PLACE.search(str(error))
    place = found[1] if found else ""
    name = f"the {part} {place}" if place else "it"
    text = _PLACE.sub("", str(error))
    if key := _KEY.fullmatch(text):
        inside = f" in {place}" if place else ""
        if key["what"] == "missing required":
            return f'the {part} "{key["name"]}" is missing{inside}'
        return f'there is no {part} "{key["name"]}"{inside}'
    if expected := _EXPECTED.fullmatch(text):
        return f"{name} must {_demand(expected)}"
    return f"{name}: {text[:1].lower()}{text[1:]}" if place else text


def _demand(expected: re.Match[str]) -> str:
    """What it must be or have."""
    if expected["limit"]:
        return f"be {_LIMITS[expected['limit']]} {expected['bound']}"
    if (expected["most"], expected["length"]) == (">=", "1"):
        return "not be empty"
    if expected["length"]:
        parts = _PARTS.get(expected["kinds"], "parts")
        return f"have {_LIMITS[expected['most']]} {expected['length']} {parts}"
    kinds = expected["kinds"].split(" | ")
    return "be " + " or ".join(_KINDS.get(kind, kind) for kind in kinds)
