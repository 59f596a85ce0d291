"""What an http attempt sends: the filled request, and what of it may follow a redirect. Pure."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urljoin, urlsplit

import msgspec

from rota.core.errors import RotaError
from rota.core.model import HttpTask
from rota.core.template import fill, fill_header, fill_json, fill_url, run_values
from rota.wire.messages import AttemptOrder

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LINE_BREAK: Final = re.compile(r"[\r\n\x00]")
_CREDENTIALS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
_BODY_HEADERS: Final = frozenset({"content-type", "content-length", "content-encoding", "transfer-encoding"})
_SECRET: Final = "${secret."  # noqa: S105 — the mark of one, not one
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class RequestRefused(RotaError):
    """The request is not allowed or not possible as it stands."""

    code = "REQUEST_REFUSED"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request; `secret_headers` are the names (lower case) that must not go to another host."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None
    secret_headers: frozenset[str]
    secret_body: bool


def first_request(order: AttemptOrder, task: HttpTask) -> Request:
    """The request of an attempt with all values filled in; raise RequestRefused or BadTemplate."""
    values = run_values(
        run_id=order.run_id,
        due=order.due,
        timezone=order.timezone,
        attempt=order.attempt,
        params=order.params,
        secrets=order.secrets,
    )
    headers = {"User-Agent": "Rota", "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
    for name, value in task.headers.items():
        checked = _checked_header(name, fill_header(value, values))
        headers = {known: kept for known, kept in headers.items() if known.lower() != name.lower()} | {name: checked}
    headers |= {
        "Rota-Run": order.run_id,
        "Rota-Job": order.job,
        "Rota-Due": order.due.isoformat().replace("+00:00", "Z"),
        "Rota-Attempt": str(order.attempt),
        "Rota-Fence": str(order.fence),
        "Idempotency-Key": order.run_id,
    }
    secret = {name.lower() for name, value in task.headers.items() if _SECRET in value}
    return Request(
        method=task.method.upper(),
        url=checked_url(fill_url(task.url, values)),
        headers=headers,
        body=_body(task, values, headers),
        secret_headers=_CREDENTIALS | secret,
        secret_body=task.body is not None and _SECRET in task.body,
    )


def after_redirect(request: Request, status: int, location: str) -> Request:
    """The request that follows a redirect; credentials do not go to another host. Raise RequestRefused."""
    url = checked_url(urljoin(request.url, location))
    headers, method, body = dict(request.headers), request.method, request.body
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        method, body = "GET", None
        headers = {name: value for name, value in headers.items() if name.lower() not in _BODY_HEADERS}
    if origin(url) != origin(request.url):
        if body is not None and request.secret_body:
            raise RequestRefused(
                f"redirected to another host ({origin(url)}), which must not get the secrets in the body",
                hint="put the final address into the job",
            )
        headers = {name: value for name, value in headers.items() if name.lower() not in request.secret_headers}
        headers = {name: value for name, value in headers.items() if name.lower() != "host"}
    return msgspec.structs.replace(request, method=method, url=url, headers=headers, body=body)


def origin(url: str) -> str:
    """Scheme, host and port."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return f"{parts.scheme}://{parts.hostname}:{port}"


def checked_url(url: str) -> str:
    """`url` if http jobs may ask for it; raise RequestRefused."""
    if _LINE_BREAK.search(url):
        raise RequestRefused(f"the url contains a line break or NUL: {url!r}")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise RequestRefused(f"{url!r} is not a url: {error}") from None
    if parts.scheme.lower() not in ("http", "https"):
        raise RequestRefused(f"scheme {parts.scheme or '(none)'}: is not allowed, only http and https: {url}")
    if not host:
        raise RequestRefused(f"the url names no host: {url}")
    if parts.username is not None or parts.password is not None:
        raise RequestRefused(
            "a url with user@ is not allowed", hint="send an Authorization header, with the password as a secret"
        )
    return url


def _checked_header(name: str, value: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise RequestRefused(f"{name!r} is not the name of a header")
    if _LINE_BREAK.search(value):
        raise RequestRefused(f"the value of header {name} contains a line break or NUL")
    return value


def _body(task: HttpTask, values: Mapping[str, str], headers: dict[str, str]) -> bytes | None:
    """The filled body; values are escaped when it is JSON, which is also said in the headers."""
    if task.body is None:
        return None
    kind = next((value for name, value in headers.items() if name.lower() == "content-type"), None)
    looks_like_json = task.body.lstrip()[:1] in ("{", "[") and not task.body.lstrip().startswith("${")
    if kind is None and looks_like_json:
        headers["Content-Type"] = kind = "application/json"
    filled = fill_json(task.body, values) if kind and "json" in kind.lower() else fill(task.body, values)
    if kind is None:
        headers["Content-Type"] = "text/plain; charset=utf-8"
    return filled.encode()
