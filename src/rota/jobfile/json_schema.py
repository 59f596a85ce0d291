"""The JSON Schema of a job file, for editors: made from the tables of keys, so that it cannot drift from them."""

from collections.abc import Mapping
from typing import Any, Final

from rota.core.model import Delivery, Overlap
from rota.core.schedule import DstPolicy
from rota.jobfile.fields import FILE_KEYS, JOB_KEYS, WHAT_KEYS, Field
from rota.jobfile.names import LONGEST_NAME
from rota.jobfile.other_keys import NOT_IN_DEFAULTS
from rota.jobfile.part_fields import ALERT_KEYS, EXPECT_KEYS, HTTP_KEYS, KEEP_KEYS, METHODS, RETRY_KEYS
from rota.jobfile.policy_keys import ALERT_EVENTS, RETRIED_KINDS

_SCALAR: Final = {"type": ["string", "number", "boolean"]}
_SHAPES: Final[dict[str, dict[str, Any]]] = {
    "text": _SCALAR,
    "map": {"type": "object"},
    "list": {"type": "array"},
    "number": {"type": "integer"},
    "flag": {"type": "boolean"},
    "value": {},
    "texts": {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}]},
}
_CHOICES: Final[dict[str, list[str]]] = {
    "overlap": [value.value for value in Overlap],
    "delivery": [value.value for value in Delivery],
    "dst": [value.value for value in DstPolicy],
}
_FREE_MAPS: Final = frozenset({"env", "secrets", "params", "labels", "headers"})


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of a whole job file."""
    job = _object(JOB_KEYS, _parts())
    job["oneOf"] = [{"required": [name]} for name in WHAT_KEYS]
    defaults = _object({name: field for name, field in JOB_KEYS.items() if name not in NOT_IN_DEFAULTS}, _parts())
    name = {"pattern": f"^[a-z0-9][a-z0-9._-]{{0,{LONGEST_NAME - 1}}}$"}
    parts: dict[str, dict[str, Any]] = {
        "version": {"const": 1},
        "namespace": {"type": "string", **name},
        "defaults": defaults,
        "jobs": {"type": ["object", "null"], "propertyNames": name, "additionalProperties": job},
    }
    schema = _object(FILE_KEYS, parts)
    schema["required"] = ["version", "jobs"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Rota job file", **schema}


def _parts() -> dict[str, dict[str, Any]]:
    """The keys of a job whose value has keys or choices of its own."""
    inside_http = {"expect": _object(EXPECT_KEYS, {"headers": _free_map()}), "headers": _free_map()}
    http = _object(HTTP_KEYS, inside_http)
    http["oneOf"] = [{"required": [name]} for name in (*METHODS, "request")]
    parts: dict[str, dict[str, Any]] = {
        "http": http,
        "retry": _object(RETRY_KEYS, {"when": _words(RETRIED_KINDS)}),
        "alert": _object(ALERT_KEYS, {"when": _words(ALERT_EVENTS)}),
        "keep": _object(KEEP_KEYS, {}),
    }
    parts.update((name, {"enum": choices}) for name, choices in _CHOICES.items())
    parts.update((name, _free_map()) for name in _FREE_MAPS)
    return parts


def _free_map() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}


def _words(choices: tuple[str, ...]) -> dict[str, Any]:
    one = {"enum": list(choices)}
    return {"anyOf": [one, {"type": "array", "items": one}]}


def _object(table: Mapping[str, Field], parts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    properties = {
        name: {**parts.get(name, _SHAPES[field.shape]), "description": _description(field)}
        for name, field in table.items()
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _description(field: Field) -> str:
    default = "" if field.default == "—" else f" Default: {field.default}."
    return f"{field.meaning} Takes {field.takes}.{default}"
