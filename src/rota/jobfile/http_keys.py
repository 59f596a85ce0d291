"""The key `http:` → HttpTask."""

import json
import re
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import urlsplit

from rota.core.model import HttpExpect, HttpTask
from rota.jobfile.document import Entry, Mapping, Node, Scalar, Sequence
from rota.jobfile.part_fields import EXPECT_KEYS, HTTP_KEYS, METHODS
from rota.jobfile.reading import Reading, entries, flag, named_values, number, plain_tree, scalar, several, size, text
from rota.jobfile.templates_used import check_template

LONGEST_URL: Final = 8192
MOST_REDIRECTS: Final = 20
JSON_TYPE: Final = "application/json"

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_METHOD: Final = re.compile(r"[A-Z][A-Z-]{0,19}", re.ASCII)
_STATUS: Final = re.compile(r"[1-5](?:[0-9]{2}|xx)", re.ASCII)
_RANGE: Final = re.compile(r"([1-5][0-9]{2})\.\.([1-5][0-9]{2})", re.ASCII)
_JSON_CHECK: Final = re.compile(
    r"""\$(?:\.[A-Za-z_][A-Za-z0-9_-]*|\[[0-9]{1,9}\]|\["[^"\\]{1,200}"\])*(?:\s+exists|\s*(==|!=|<=|>=|<|>)\s*(\S.*))""",
    re.ASCII,
)
_VALUE: Final = re.compile(r"\$\{[^}]*\}")
_OWN_HEADERS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "idempotency-key", "te", "upgrade", "trailer"}
)


def http_task(reading: Reading, node: Node, params: Collection[str]) -> HttpTask | None:
    """The request that `node` describes, or None with the reasons noted."""
    found = entries(reading, node, HTTP_KEYS, "http")
    if not isinstance(node, Mapping):
        return None
    target = _target(reading, found, node, params)
    headers = _headers(reading, found, params)
    body, is_json = _body(reading, found, params)
    if is_json and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = JSON_TYPE
    values: dict[str, Any] = {"headers": headers, "body": body}
    if "expect" in found:
        values["expect"] = _expect(reading, found["expect"].value)
    if "follow-redirects" in found:
        redirects = _redirects(reading, found["follow-redirects"].value)
        if redirects is not None:
            values["follow_redirects"] = redirects
    if target is None:
        return None
    return HttpTask(method=target[0], url=target[1], **values)


def _target(reading: Reading, found: dict[str, Entry], node: Node, params: Collection[str]) -> tuple[str, str] | None:
    """Method and url."""
    given = [name for name in (*METHODS, "request") if name in found]
    if not given:
        hint = 'write for example get: "https://example.com/"'
        reading.wrong("E0144", f"http of {reading.where} has no method and url", node, label=hint)
        return None
    if len(given) > 1:
        key = found[given[1]].key
        reading.wrong("E0148", f"http has both {given[0]} and {given[1]}", key, label="keep one of them")
        return None
    method_key = given[0]
    raw = scalar(reading, found[method_key].value, f"http.{method_key}")
    url = (
        text(reading, found[method_key].value, f"http.{method_key}", longest=LONGEST_URL, one_line=True)
        if raw
        else None
    )
    if raw is None or url is None:
        return None
    method = method_key.upper()
    if method_key == "request":
        method, _, url = url.strip().partition(" ")
        if not _METHOD.fullmatch(method) or not url.strip():
            label = 'write METHOD url, for example "PURGE https://example.com/"'
            reading.wrong("E0212", f'"{raw.text[:60]}" is not a request', raw, label=label)
            return None
    url = url.strip()
    check_template(reading, raw, params)
    problem, label = url_problem(url)
    if problem:
        reading.wrong("E0212", problem, raw, label=label)
        return None
    return method, url


def url_problem(url: str) -> tuple[str, str]:
    """Why `url` cannot be fetched ("" when it can) and what to write instead."""
    shown = f'"{url}"' if len(url) <= 60 else f'"{url[:57]}…"'
    bare = _VALUE.sub("0", url)
    if any(ord(char) <= 32 or ord(char) == 127 for char in bare):
        return f"the url {shown} has a space or control character", "write %20 for a space"
    try:
        parts = urlsplit(bare)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return f"{shown} is not a url: {error}", ""
    if url.startswith("${"):
        return "", ""
    if parts.scheme not in ("http", "https"):
        fix = f'write "https://{url}"' if "://" not in url and not parts.scheme else "write http:// or https://"
        return f"{shown} is not an http url", fix
    if not host:
        return f"the url {shown} names no host", ""
    if port == 0:
        return f"the url {shown} has port 0", ""
    if "@" in parts.netloc:
        return "the url holds a user name or password", "send it as a header: Authorization: Basic ${secret.NAME}"
    return "", ""


def _headers(reading: Reading, found: dict[str, Entry], params: Collection[str]) -> dict[str, str]:
    if "headers" not in found:
        return {}
    headers: dict[str, str] = {}
    for name, entry in named_values(reading, found["headers"].value, "headers").items():
        value = _header(reading, name, entry)
        if value is None:
            continue
        if name.lower() in _OWN_HEADERS or name.lower().startswith("rota-"):
            reading.wrong("E0213", f'the header "{name}" is set by Rota', entry.key, label="remove it")
        elif any(name.lower() == known.lower() for known in headers):
            reading.wrong("E0213", f'the header "{name}" is given twice', entry.key, label="keep one of them")
        else:
            headers[name] = value
            if isinstance(entry.value, Scalar):
                check_template(reading, entry.value, params)
    return headers


def _header(reading: Reading, name: str, entry: Entry) -> str | None:
    """The value of a header with an allowed name."""
    if not _HEADER_NAME.fullmatch(name):
        reading.wrong("E0213", f'"{name[:40]}" is not the name of a header', entry.key)
        return None
    return text(reading, entry.value, f"the header {name}", longest=LONGEST_URL, one_line=True, may_be_empty=True)


def _body(reading: Reading, found: dict[str, Entry], params: Collection[str]) -> tuple[str | None, bool]:
    """The body and whether it is JSON."""
    if "json" in found and "body" in found:
        reading.wrong("E0148", "http has both body and json", found["json"].key, label="keep one of them")
        return None, False
    if "body" in found:
        node = found["body"].value
        body = text(reading, node, "http.body", may_be_empty=True)
        if body is not None and isinstance(node, Scalar):
            check_template(reading, node, params)
        return body, False
    if "json" not in found:
        return None, False
    for inner in _texts(found["json"].value):
        check_template(reading, inner, params)
    value = plain_tree(reading, found["json"].value, "http.json")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")), True


def _texts(node: Node) -> list[Scalar]:
    if isinstance(node, Mapping):
        return [inner for entry in node.entries.values() for inner in _texts(entry.value)]
    if isinstance(node, Sequence):
        return [inner for item in node.items for inner in _texts(item)]
    return [node] if isinstance(node, Scalar) and isinstance(node.value, str) else []


def _redirects(reading: Reading, node: Node) -> int | None:
    if isinstance(node, Scalar) and isinstance(node.value, bool):
        return 5 if flag(reading, node, "follow-redirects") else 0
    return number(reading, node, "follow-redirects", least=0, most=MOST_REDIRECTS)


def _expect(reading: Reading, node: Node) -> HttpExpect:
    found = entries(reading, node, EXPECT_KEYS, "expect")
    values: dict[str, Any] = {}
    if "status" in found:
        statuses = [_status(reading, item) for item in several(reading, found["status"].value, "expect.status")]
        values["status"] = tuple(dict.fromkeys(status for status in statuses if status)) or ("2xx",)
    if "headers" in found:
        values["headers"] = _expected_headers(reading, found["headers"].value)
    if "json" in found:
        checks = [_json_check(reading, item) for item in several(reading, found["json"].value, "expect.json")]
        values["json"] = tuple(check for check in checks if check)
    if "body" in found:
        values["body"] = text(reading, found["body"].value, "expect.body")
    if "max-body" in found:
        values["max_body"] = size(reading, found["max-body"].value, "expect.max-body", least=1, most=1024**3)
    return HttpExpect(**values)


def _expected_headers(reading: Reading, node: Node) -> dict[str, str]:
    wanted: dict[str, str] = {}
    for name, entry in named_values(reading, node, "expect.headers").items():
        value = _header(reading, name, entry)
        if value is not None:
            wanted[name] = value
    return wanted


def _status(reading: Reading, node: Scalar) -> str | None:
    value = node.text.strip().lower()
    both = _RANGE.fullmatch(value)
    if _STATUS.fullmatch(value) or (both and both[1] <= both[2]):
        return value
    reading.wrong("E0214", f'"{node.text[:40]}" is not a status', node, label="write 200, 2xx or 200..204")
    return None


def _json_check(reading: Reading, node: Scalar) -> str | None:
    check = node.text.strip()
    match = _JSON_CHECK.fullmatch(check)
    label = "write $.path exists, or $.path == value with one of == != < <= > >="
    if match is None or len(check) > 1000:
        reading.wrong("E0214", f'"{check[:60]}" is not an expectation on JSON', node, label=label)
        return None
    if match[1] and not _is_json(match[2]):
        fix = f"{check[: match.start(2)]}{json.dumps(match[2])}"
        reading.wrong("E0214", f"{match[2][:40]} is not a JSON value", node, label=f"for a text write {fix[:80]}")
        return None
    return check


def _is_json(value: str) -> bool:
    try:
        json.loads(value, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
