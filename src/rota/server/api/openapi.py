"""The OpenAPI 3.1 document, made from the route table and the types it names."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from rota.server.api.problems import MEDIA_TYPE, Problem
from rota.server.api.routes import Route

_REFERENCE: Final = "#/components/schemas/{name}"
_WORDS: Final = {
    401: "no valid credential",
    403: "the credential does not allow this",
    404: "there is no such thing",
    409: "it has changed, or cannot be done in its present state",
    412: "the job has another revision than If-Match says",
    413: "the body is too large",
    415: "the body is of another kind",
    426: "the connection must become a WebSocket",
    429: "too many; Retry-After says when to come again",
    422: "the request cannot be honoured as it stands",
    503: "the store cannot be reached; it was done whole, or not at all: try again, with the same Idempotency-Key",
}


def document(routes: Sequence[Route[Any, Any]], version: str) -> dict[str, Any]:
    """The description of all `routes`."""
    types = _types(routes)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    by_type = dict(zip(map(str, types), schemas, strict=True))
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.plain_path, {})[route.method.lower()] = _operation(route, by_type, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rota", "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "rota token create"}},
        },
    }


def _types(routes: Sequence[Route[Any, Any]]) -> list[Any]:
    """Every type that some route names, once."""
    wanted: dict[str, Any] = {str(Problem): Problem}
    for route in routes:
        for kind in (route.parameters, route.answer, route.body if route.has_body else None):
            if kind is not None and kind is not bytes:
                wanted[str(kind)] = kind
    return list(wanted.values())


def _operation(route: Route[Any, Any], by_type: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "description": f"Needs the scope {route.permission}." if route.permission != "public" else "Needs no token.",
        "parameters": _parameters(route, by_type, components),
        "responses": _responses(route, by_type),
        "security": [] if route.permission == "public" else [{"token": []}],
        "x-permission": route.permission,
    }
    if route.has_body:
        operation["requestBody"] = {"required": route.body_required, "content": _contents(route, by_type)}
    return operation


def _contents(route: Route[Any, Any], by_type: dict[str, Any]) -> dict[str, Any]:
    """What the route reads, by media type; a batch's items are described in the reference."""
    content: dict[str, Any] = {}
    for media_type in route.reads:
        if route.body is not bytes:
            content[media_type] = {"schema": by_type[str(route.body)]}
        elif media_type == "application/json":
            key = "jobs" if "jobs" in route.path else "runs"
            listed = {"type": "array", "items": {"type": "object"}, "maxItems": 10_000}
            shape = {"type": "object", "properties": {key: listed}, "required": [key], "additionalProperties": False}
            content[media_type] = {"schema": shape}
        else:
            content[media_type] = {"schema": {"type": "string"}}
    return content


def _parameters(route: Route[Any, Any], by_type: dict[str, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    schema = by_type[str(route.parameters)]
    definition = components[schema["$ref"].rpartition("/")[2]]
    required = definition.get("required", [])
    described = [
        {
            "name": name,
            "in": "path" if name in route.path_names else "query",
            "required": name in required,
            "schema": _plain_schema(shape),
        }
        for name, shape in definition.get("properties", {}).items()
    ]
    headers = [
        {"name": name, "in": "header", "required": False, "description": text, "schema": _header_schema(name)}
        for name, text in route.headers.items()
    ]
    return described + headers


def _plain_schema(shape: dict[str, Any]) -> dict[str, Any]:
    """A parameter cannot be null, only absent; and no text may hold a NUL character."""
    shape = dict(shape)
    options = [option for option in shape.pop("anyOf", []) if option.get("type") != "null"]
    if shape.get("default", ...) is None:
        del shape["default"]
    for option in options[:1]:
        shape.update(option)
    if shape.get("type") == "string" and "enum" not in shape:
        shape["pattern"] = r"^[^\x00]*$"
    return shape


def _header_schema(name: str) -> dict[str, Any]:
    pattern = r"^[0-9]{1,9}$" if name == "If-Match" else r"^[\x21-\x7e]+$"
    return {"type": "string", "pattern": pattern, "minLength": 1, "maxLength": 255}


def _responses(route: Route[Any, Any], by_type: dict[str, Any]) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "done"}
    if route.answer is not None:
        good["content"] = {route.media_type: {"schema": by_type[str(route.answer)]}}
    elif route.status not in (101, 204):
        good["content"] = {route.media_type: {"schema": {"type": "string"}}}
    responses = {str(status): good for status in sorted({route.status, *_also_good(route)})}
    for status in sorted({*route.errors, *_always(route)}):
        responses[str(status)] = {
            "description": _WORDS[status],
            "content": {MEDIA_TYPE: {"schema": by_type[str(Problem)]}},
        }
    if route.path == "/readyz":
        responses["503"] = {"description": "not ready", "content": good["content"]}
    return responses


def _also_good(route: Route[Any, Any]) -> set[int]:
    """Writing one job says whether it is new; pausing and cancelling whether a worker must still agree."""
    if route.method == "PUT" and route.answer is not None:
        return {201}
    return {202} if route.path.endswith(("/pause", "/cancel")) else set()


def _always(route: Route[Any, Any]) -> set[int]:
    """The errors any such route can answer with."""
    statuses = {422, 429, 503}
    if route.permission != "public":
        statuses |= {401, 403}
    if route.has_body or route.method in ("POST", "PUT", "DELETE"):
        statuses |= {413}
    if route.has_body:
        statuses |= {415}
    if route.method == "POST":
        statuses |= {409}
    return statuses
