"""Every route × every credential, mangled paths, tokens in addresses, foreign hosts, cookies from other sites."""

import re
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from api_installation import ADMIN, Installation

from rota.server.access import is_token_text, new_token_text
from rota.server.api.app import api_routes
from rota.server.api.routes import PERMISSIONS, Route
from rota.server.api.services import ApiSettings

ROUTES = api_routes(ApiSettings(version="1"))
ALLOWED = {"admin": {"public", "read", "write", "admin", "metrics"}, "write": {"public", "read", "write"}}
ALLOWED |= {"read": {"public", "read"}, "metrics": {"public", "metrics"}}
ALLOWED |= {"worker": {"public", "worker"}, "join": {"public", "join"}}


def concrete(route: Route[Any, Any]) -> str:
    """The route's path with things that do not exist."""
    path = re.sub(r"\{[a-z]+(:[a-z]+)?\}", "nothing", route.path)
    return path + ("?topics=jobs" if path.endswith("/stream") else "")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_each_route_lets_in_only_who_may(rota: Installation, route: Route[Any, Any]) -> None:
    path = concrete(route)
    async with rota.client(None) as nobody:
        missing = await nobody.request(route.method, path) if route.permission != "public" else None
        wrong = (
            await nobody.request(route.method, concrete(route), headers={"Authorization": f"Bearer {new_token_text()}"})
            if route.permission != "public"
            else None
        )
    for response in (missing, wrong):
        if response is not None:
            assert response.status_code == 401
            assert response.headers["content-type"] == "application/problem+json"
            assert response.headers["www-authenticate"].startswith("Bearer")
    for scope, allowed in ALLOWED.items():
        if route.permission in allowed:
            continue
        async with rota.client(scope) as low:
            refused = await low.request(route.method, path)
        assert refused.status_code == 403, scope
        assert refused.json()["code"] == "NOT_ALLOWED"


PEOPLE = [route for route in ROUTES if route.permission not in ("worker", "join") and route.path[-7:] != "/stream"]


@pytest.mark.parametrize("route", PEOPLE, ids=lambda r: f"{r.method} {r.path}")
async def test_admin_passes_every_gate(rota: Installation, route: Route[Any, Any]) -> None:
    async with rota.client("admin") as admin:
        response = await admin.request(route.method, concrete(route))
    assert response.status_code not in (401, 403)
    assert response.status_code < 500


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_no_route_takes_a_token_that_has_ended_or_is_none(rota: Installation, route: Route[Any, Any]) -> None:
    if route.permission == "public":
        return
    access, soon = rota.services.access, rota.clock.now() + timedelta(minutes=1)
    scope = {"worker": "join", "join": "join"}.get(route.permission, route.permission)
    expiring = (await access.create_token("x", [scope], expires=soon, actor=ADMIN)).text
    ended = await access.create_token("y", [scope], actor=ADMIN)
    await access.revoke_token(ended.record.id, actor=ADMIN)
    rota.clock.advance(minutes=2)
    async with rota.client(None) as nobody:
        for shown in (f"Bearer {expiring}", f"Bearer {ended.text}", "Bearer", "Bearer x", "Basic YTpi", "\u00e9", ""):
            refused = await nobody.request(
                route.method, concrete(route), headers={"Authorization": shown.encode("latin-1")}
            )
            assert refused.status_code == 401, shown
            assert refused.json()["code"] == "NOT_AUTHENTICATED"
        token = rota.tokens.get(route.permission, "")
        mark = "&" if "?" in concrete(route) else "?"
        asked = await nobody.request(route.method, f"{concrete(route)}{mark}token={token}")
        assert asked.status_code == 401


async def test_tokens_of_workers_open_one_door_each(rota: Installation) -> None:
    async with rota.client("worker") as worker:
        refused = await worker.get("/api/v1/me")
        assert (refused.status_code, refused.json()["code"]) == (403, "NOT_ALLOWED")
        answer = await worker.get("/api/v1/worker")
        assert (answer.status_code, answer.json()["code"]) == (426, "UPGRADE_REQUIRED")
        assert answer.headers["upgrade"] == "websocket"
    async with rota.client("join") as joining:
        assert (await joining.get("/api/v1/me")).status_code == 403
        assert (await joining.post("/api/v1/login-links")).status_code == 403
        assert (await joining.get("/jobs")).status_code == 403


def test_every_permission_is_a_known_one() -> None:
    assert {route.permission for route in ROUTES} <= set(PERMISSIONS)
    public = {route.path for route in ROUTES if route.permission == "public"}
    assert public == {"/healthz", "/readyz"}


def test_what_changes_something_is_not_open_to_readers() -> None:
    """Said here once more, apart from the routes: a permission written wrongly there is a hole."""
    changing = {(route.method, route.path): route.permission for route in ROUTES if route.method not in ("GET", "HEAD")}
    assert {route for route, permission in changing.items() if permission not in ("write", "admin")} == {
        ("POST", "/api/v1/login-links"),  # a login for the caller, with the caller's own rights
        ("POST", "/api/v1/workers:join"),  # has a token of its own
    }
    of_administrators = ("/tokens", "/secrets", "/audit", "/workers")
    guarded = {
        (route.method, route.path)
        for route in ROUTES
        if route.path.removeprefix("/api/v1").startswith(of_administrators) and route.permission != "admin"
    }
    assert guarded == {
        ("GET", "/api/v1/secrets"),  # names without values
        ("GET", "/api/v1/workers"),
        ("POST", "/api/v1/workers:join"),
    }


@pytest.mark.parametrize(
    "path",
    [
        "/API/V1/jobs",
        "//api/v1/jobs",
        "/api/v1/jobs/",
        "/api/v1/jobs/health",
        "/api/v1/jobs;a",
        "/api/v1/../v1/jobs",
        "/api/v1/%2e%2e/v1/jobs",
        "/api/v1/jobs%2fa%2fb",
        "/api/v1/tokens/healthz",
        "/api/v1/jobs/a/b/healthz",
        "/healthz/../api/v1/jobs",
        "/static/../api/v1/tokens",
        "/static/%2e%2e/pages.py",
        "/static/..%2fpages.py",
        "/metrics/",
        "/api/v1/jobs%00",
    ],
)
async def test_no_spelling_of_a_path_gives_more_rights(rota: Installation, path: str) -> None:
    async with rota.client(None) as nobody:
        for method in ("GET", "POST", "HEAD", "OPTIONS", "TRACE", "PUT"):
            response = await nobody.request(method, path)
            assert response.status_code in (401, 404, 405), (method, response.status_code)
            assert "def " not in response.text


async def test_a_method_cannot_be_overridden(rota: Installation) -> None:
    await rota.apply("web/page")
    async with rota.client("read", **{"X-HTTP-Method-Override": "DELETE"}) as reader:
        assert (await reader.get("/api/v1/jobs/web/page")).status_code == 200
        assert (await reader.get("/api/v1/jobs/web/page")).json()["name"] == "page"


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/jobs", "/login", "/static/rota.css", "/nowhere"])
async def test_a_token_in_an_address_is_refused_everywhere(rota: Installation, path: str) -> None:
    async with rota.client("admin") as admin:
        for query in (f"token={rota.tokens['admin']}", f"q={rota.tokens['admin']}", "access_token=x", "TOKEN=x"):
            response = await admin.get(f"{path}?{query}")
            assert response.status_code == 401
            assert rota.tokens["admin"] not in response.text


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8700", 200),
        ("localhost", 200),
        ("[::1]:8700", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example:8700", 421),
        ("", 421),
        ("10.0.0.7:8700", 421),
    ],
)
async def test_only_our_own_names_are_answered(rota: Installation, host: str, status: int) -> None:
    async with rota.client(None, Host=host) as client:
        assert (await client.get("/healthz")).status_code == status


async def test_answers_carry_the_protective_headers(rota: Installation) -> None:
    async with rota.client("read") as reader:
        for path in ("/api/v1/jobs", "/healthz", "/login", "/static/app.js", "/nowhere"):
            headers = (await reader.get(path)).headers
            assert "script-src 'self'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert "access-control-allow-origin" not in headers
            assert headers["x-request-id"]


async def test_a_revoked_or_expired_token_is_dead_within_seconds(rota: Installation) -> None:
    async with rota.client("admin") as admin:
        expires = "2026-11-23T13:00:00Z"
        made = (await admin.post("/api/v1/tokens", json={"name": "ci", "scopes": ["read"], "expires": expires})).json()
        assert is_token_text(made["token"])
        bearer = {"Authorization": f"Bearer {made['token']}"}
        assert (await admin.get("/api/v1/me", headers=bearer)).json()["name"] == "ci"
        rota.clock.advance(hours=1)
        refused = await admin.get("/api/v1/me", headers=bearer)
        assert (refused.status_code, refused.json()["detail"]) == (401, "the token has expired")
        assert "rota token create --database URL --scope admin" in refused.json()["hint"]
        other = (await admin.post("/api/v1/tokens", json={"name": "ci2", "scopes": ["read"]})).json()
        bearer = {"Authorization": f"Bearer {other['token']}"}
        assert (await admin.get("/api/v1/me", headers=bearer)).status_code == 200
        assert (await admin.delete(f"/api/v1/tokens/{other['id']}")).json()["revoked"]
        refused = await admin.get("/api/v1/me", headers=bearer)
        assert (refused.status_code, refused.json()["detail"]) == (401, "the token is not valid here")
        listed = (await admin.get("/api/v1/tokens")).text
        assert other["token"] not in listed
        assert made["token"] not in listed


async def sign_in(rota: Installation, client: httpx2.AsyncClient) -> str:
    """Open a browser session; returns its CSRF text."""
    admin = next(token for token in await rota.services.access.tokens() if token.name == "admin")
    code = await rota.services.access.create_login_code(admin.id)
    shown = await client.get(f"/login?code={code}&next=/jobs")
    assert shown.status_code == 200
    assert "set-cookie" not in shown.headers
    answer = await client.post("/login", data={"code": code, "next": "/jobs"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/jobs"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    again = await client.post("/login", data={"code": code, "next": "/jobs"})
    assert again.status_code == 401
    page = await client.get("/jobs")
    found = re.search(r'name="csrf" content="([^"]+)"', page.text)
    assert found
    return found[1]


async def test_a_login_code_opens_one_session_and_changes_need_its_csrf_text(rota: Installation) -> None:
    await rota.apply("web/page")
    async with rota.client(None) as browser:
        csrf = await sign_in(rota, browser)
        assert (await browser.get("/api/v1/jobs")).status_code == 200
        runs = "/api/v1/jobs/web/page/runs"
        assert (await browser.post(runs)).status_code == 403
        assert (await browser.post(runs, headers={"X-CSRF-Token": "x" * 32})).status_code == 403
        good = {"X-CSRF-Token": csrf}
        assert (await browser.post(runs, headers={**good, "Origin": "https://evil.example"})).status_code == 403
        assert (await browser.post(runs, headers={**good, "Origin": "null"})).status_code == 403
        assert (await browser.post(runs, headers={**good, "Sec-Fetch-Site": "cross-site"})).status_code == 403
        assert (await browser.post(runs, headers={**good, "Origin": "http://127.0.0.1:8700"})).status_code == 201
        assert (await browser.post("/logout", data={"csrf": "wrong"})).status_code == 403
        assert (await browser.post("/logout", data={"csrf": csrf})).status_code == 303
        assert (await browser.get("/api/v1/jobs")).status_code == 401


async def test_a_login_code_dies_after_ten_minutes(rota: Installation) -> None:
    code = await rota.services.access.create_login_code((await rota.services.access.tokens())[0].id)
    rota.clock.advance(minutes=10)
    async with rota.client(None) as browser:
        assert (await browser.post("/login", data={"code": code})).status_code == 401


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x", ""])
async def test_a_login_never_leads_to_another_site(rota: Installation, target: str) -> None:
    code = await rota.services.access.create_login_code((await rota.services.access.tokens())[-1].id)
    async with rota.client(None) as browser:
        answer = await browser.post("/login", data={"code": code, "next": target})
        assert answer.headers["location"] == "/jobs"


async def test_pages_send_strangers_to_the_login(rota: Installation) -> None:
    async with rota.client(None) as browser:
        for path in ("/", "/jobs", "/jobs/a/b", "/runs", "/r/x", "/workers", "/workers/w-1", "/system"):
            answer = await browser.get(path)
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/login?next=")
