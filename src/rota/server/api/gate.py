"""The gate: who asks, and whether the declared permission lets them.

Scripts carry `Authorization: Bearer`; browsers carry a session cookie, and everything that changes something then
also needs the session's CSRF text and the page's own origin. A token in an address is refused whatever the path.
"""

import hmac
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from rota.core.actor import Actor
from rota.core.errors import NotAllowed, NotAuthenticated
from rota.server.access import AccessControl, Session, authorize
from rota.server.api.limits import note_known

CSRF_HEADER: Final = "x-csrf-token"
SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
ANYBODY: Final = Actor(name="anonymous", scopes=frozenset())


def cookie_name(connection: HTTPConnection) -> str:
    """The session cookie's name; it holds the port, because browsers share cookies between ports of one host."""
    server = connection.scope.get("server") or ("", 0)
    return f"rota_session_{server[1] or 0}"


def bearer(connection: HTTPConnection) -> str | None:
    """The token in the Authorization header; None without one; raises NotAuthenticated for another kind of header."""
    header = connection.headers.get("authorization")
    if header is None:
        return None
    kind, _, text = header.partition(" ")
    if kind.lower() != "bearer":
        raise NotAuthenticated("the Authorization header must be: Bearer <token>")
    return text.strip()


async def identify(connection: HTTPConnection, access: AccessControl, request_id: str) -> tuple[Actor, Session | None]:
    """Who asks, and the browser session if there is one; raises NotAuthenticated."""
    text = bearer(connection)
    if text is not None:
        owner = await access.authenticate_token(text, request_id)
        note_known(connection.scope)
        return owner, None
    cookie = connection.cookies.get(cookie_name(connection))
    if cookie is None:
        raise NotAuthenticated("no token came with the request", hint="send Authorization: Bearer <token>")
    session = await access.authenticate_session(cookie, request_id)
    note_known(connection.scope)
    return session.actor, session


async def admit(
    connection: HTTPConnection, access: AccessControl, *, method: str, permission: str, request_id: str
) -> tuple[Actor, Session | None]:
    """Let a request pass for `permission`, or raise NotAuthenticated or NotAllowed."""
    if permission == "public":
        return ANYBODY, None
    actor, session = await identify(connection, access, request_id)
    if session is not None and method not in SAFE_METHODS:
        check_origin(connection)
        check_csrf(connection.headers.get(CSRF_HEADER, ""), session)
    authorize(actor, permission)
    return actor, session


def check_origin(connection: HTTPConnection) -> None:
    """Refuse a change that another site's page asks for; what the browser says of the sender cannot be forged."""
    origin = connection.headers.get("origin")
    site = connection.headers.get("sec-fetch-site")
    same = site in (None, "same-origin", "none")
    if origin is not None and not (origin == "null" and site == "same-origin"):
        same = same and urlsplit(origin).netloc.lower() == connection.headers.get("host", "").lower()
    if not same:
        raise NotAllowed("the request comes from another site", hint="open the page itself and try there")


def check_csrf(received: str, session: Session) -> None:
    """Refuse a change without the session's CSRF text."""
    if not session.csrf or not hmac.compare_digest(received.encode(), session.csrf.encode()):
        raise NotAllowed("the form is not of this session", hint="reload the page and try again")
