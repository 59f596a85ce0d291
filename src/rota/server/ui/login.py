"""Signing in and out: a one-use code becomes a session cookie.

Opening a login link only shows a form that posts the code: programs which fetch links to preview them must not use
it up. A small script posts it at once for people.
"""

from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from rota.core.errors import NotAuthenticated
from rota.server.access import SESSION_LIFETIME
from rota.server.api.bodies import read_body
from rota.server.api.gate import check_csrf, check_origin, cookie_name, identify
from rota.server.api.services import ApiServices
from rota.server.ui.render import page

_LARGEST_FORM: Final = 16 * 1024
_LONGEST_CODE: Final = 100


async def show_login(request: Request, services: ApiServices) -> Response:
    """The form; with a code in the link it is filled already."""
    code = request.query_params.get("code", "")[:_LONGEST_CODE]
    return page(
        services, "login.html", None, code=code, next=local_path(request.query_params.get("next", "")), problem=None
    )


async def log_in(request: Request, services: ApiServices) -> Response:
    """Take the code and open a session."""
    check_origin(request)
    form = await read_form(request, services)
    code, after = _code_of(form.get("code", "")), local_path(form.get("next", ""))
    try:
        session = await services.access.redeem_code(code)
    except NotAuthenticated as error:
        return page(services, "login.html", None, status=401, code="", next=after, problem=error)
    response = RedirectResponse(after, 303)
    response.set_cookie(
        cookie_name(request),
        session.cookie,
        max_age=int(SESSION_LIFETIME.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=services.settings.tls,
    )
    return response


async def log_out(request: Request, services: ApiServices) -> Response:
    """End the session, on the server and in the browser."""
    check_origin(request)
    form = await read_form(request, services)
    _, session = await identify(request, services.access, "")
    if session is not None:
        check_csrf(form.get("csrf", ""), session)
        await services.access.logout(session.cookie)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(cookie_name(request), httponly=True, samesite="lax", secure=services.settings.tls)
    return response


async def read_form(request: Request, services: ApiServices) -> dict[str, str]:
    """The fields of a small form."""
    with services.limits.body() as share:
        raw = await read_body(request, _LARGEST_FORM, share)
    return dict(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True))


def local_path(text: str) -> str:
    """`text` if it is a path on this server, else the first page: a login must not lead elsewhere."""
    plain = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() and "\\" not in text
    return text if plain and len(text) < 2000 else "/jobs"


def _code_of(text: str) -> str:
    """The code, also out of a whole pasted link."""
    text = text.strip()
    return text.partition("code=")[2].partition("&")[0] if "code=" in text else text[:_LONGEST_CODE]
