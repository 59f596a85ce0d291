"""The API by name: what can be asked of jobs, runs and the installation. Answers are the API's own documents."""

import difflib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from rota.client.transport import Transport
from rota.core.errors import Invalid, NotFound

Document = dict[str, Any]
PAGE: int = 1000


def job_path(full_name: str) -> str:
    """The path of a job; raises Invalid for what is no full name."""
    namespace, separator, name = full_name.partition("/")
    if not separator or not namespace or not name or "/" in name:
        hint = "rota ls shows all names"
        raise Invalid(f'"{full_name[:200]}" is not a job: write NAMESPACE/NAME', hint=hint)
    return f"/jobs/{quote(namespace, safe='')}/{quote(name, safe='')}"


def run_path(run_id: str) -> str:
    """The path of a run."""
    return f"/runs/{quote(run_id, safe='')}"


class Calls:
    """Base of the groups of calls. An unknown job is answered with the nearest name there is."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._pages = Pages(transport)

    async def _get(self, path: str, **query: Any) -> Document:
        try:
            document: Document = await self._transport.get(path, **query)
        except NotFound as error:
            raise await self._with_nearest(error) from error
        return document

    async def _post(self, path: str, body: Any = None, *, key: str | None = None, **query: Any) -> Document:
        try:
            document: Document = await self._transport.post(path, body, key=key, **query)
        except NotFound as error:
            raise await self._with_nearest(error) from error
        return document

    async def _with_nearest(self, error: NotFound) -> NotFound:
        """The same error, its hint naming the job that may have been meant."""
        wanted = error.facts.get("facts", {}).get("job")
        if not isinstance(wanted, str) or error.facts.get("code") != "NOT_FOUND":
            return error
        page = await self._transport.get("/jobs", limit=PAGE)
        names = [job["job"] for job in page["items"]]
        close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
        same_name = [name for name in names if name.partition("/")[2] == wanted.partition("/")[2]]
        nearest = [*close, *same_name]
        if wanted in names or not nearest:
            return error
        return NotFound(error.detail, hint=f"did you mean {nearest[0]}?", **error.facts)


class Pages:
    """Lists that come in pages."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(self, path: str, limit: int, **query: Any) -> Document:
        """The first `limit` items as one document; its `next` is the cursor after them."""
        document: Document = await self._transport.get(path, limit=min(limit, PAGE), **query)
        while document["next"] is not None and len(document["items"]) < limit:
            rest = min(limit - len(document["items"]), PAGE)
            page = await self._transport.get(path, **{**query, "limit": rest, "cursor": document["next"]})
            document = {**document, "items": document["items"] + page["items"], "next": page["next"]}
        return document

    async def each(self, path: str, **query: Any) -> AsyncIterator[Document]:
        """All items, page by page."""
        cursor: str | None = None
        while True:
            page = await self._transport.get(path, **{**query, "limit": PAGE, "cursor": cursor})
            for item in page["items"]:
                yield item
            cursor = page["next"]
            if cursor is None:
                return


class JobCalls(Calls):
    """What can be asked of jobs."""

    async def list(self, q: str = "", *, sort: str = "name", limit: int = 100, cursor: str | None = None) -> Document:
        """Jobs of a query."""
        return await self._pages.list("/jobs", limit, q=q, sort=sort, cursor=cursor)

    def each(self, q: str = "") -> AsyncIterator[Document]:
        """All jobs of a query."""
        return self._pages.each("/jobs", q=q)

    async def get(self, full_name: str, *, upcoming: int = 5) -> Document:
        """One job with its next instants."""
        return await self._get(job_path(full_name), next=upcoming)

    async def apply(self, jobs: Sequence[Mapping[str, Any]], *, prune: Sequence[str] = ()) -> Document:
        """Make jobs what is wanted, all or none; other jobs of the sources in `prune` are deleted."""
        body = {"jobs": list(jobs)}
        return await self._post("/jobs:batch", body, atomic=True, prune=",".join(prune) or None)

    async def pause(self, full_name: str, *, until: datetime | None = None, reason: str = "") -> Document:
        """Plan no more instants."""
        body = {"until": until.isoformat() if until else None, "reason": reason}
        return await self._post(job_path(full_name) + "/pause", body)

    async def resume(self, full_name: str) -> Document:
        """Plan again."""
        return await self._post(job_path(full_name) + "/resume")

    async def trigger(
        self,
        full_name: str,
        *,
        params: Mapping[str, str] | None = None,
        at: datetime | None = None,
        key: str | None = None,
    ) -> Document:
        """Run once; returns the run."""
        body: dict[str, Any] = {"params": dict(params or {})}
        if at is not None:
            body["at"] = at.isoformat()
        return await self._post(job_path(full_name) + "/runs", body, key=key)

    async def why(self, full_name: str, at: str) -> Document:
        """Why it did or did not run at a time."""
        return await self._get(job_path(full_name) + "/why", at=at)

    async def ledger(self, full_name: str, **query: Any) -> Document:
        """What answered each instant."""
        return await self._get(job_path(full_name) + "/ledger", **query)

    async def upcoming(self, q: str = "", *, within: str = "24h", limit: int = 100) -> Document:
        """The next instants of the jobs of a query."""
        return await self._get("/next", q=q, within=within, limit=limit)


class RunCalls(Calls):
    """What can be asked of runs."""

    async def list(self, q: str = "", *, limit: int = 100, **query: Any) -> Document:
        """Runs of a query, newest first."""
        return await self._pages.list("/runs", limit, q=q, **query)

    async def get(self, run_id: str) -> Document:
        """One run."""
        run: Document = await self._transport.get(run_path(run_id))
        return run

    async def resolve(self, reference: str) -> Document:
        """The run a reference means."""
        found = await self._get("/resolve", ref=reference)
        run: Document = found["run"]
        return run

    async def cancel(self, run_id: str, *, reason: str = "") -> Document:
        """Ask for its end."""
        run: Document = await self._transport.post(run_path(run_id) + "/cancel", {"reason": reason})
        return run

    async def retry(self, run_id: str) -> Document:
        """A new run for the same due."""
        run: Document = await self._transport.post(run_path(run_id) + "/retry")
        return run

    async def why(self, run_id: str) -> Document:
        """How it came to be where it is."""
        document: Document = await self._transport.get(run_path(run_id) + "/why")
        return document

    async def log_window(self, run_id: str, *, attempt: int = 0, start: int = 0, limit: int = 1000) -> Document:
        """Lines of an attempt's output (0: the newest attempt); a negative start counts from the end."""
        query = {"attempt": attempt, "from": start, "limit": limit}
        window: Document = await self._transport.get(run_path(run_id) + "/logs", **query)
        return window

    async def raw_log(self, run_id: str, *, attempt: int = 0) -> AsyncIterator[bytes]:
        """An attempt's output as it was written."""
        async with self._transport.stream(run_path(run_id) + "/logs/raw", attempt=attempt) as response:
            async for piece in response.aiter_bytes():
                yield piece


class SystemCalls:
    """What can be asked of the installation."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def read(self, path: str, **query: Any) -> Document:
        """A document: /workers, /servers, /alerts, /secrets, /tokens, /summary, /me, /audit, /explain/cron."""
        document: Document = await self._transport.get(path, **query)
        return document

    async def ready(self) -> tuple[bool, list[str]]:
        """Whether the server can do its duty, and what keeps it from it."""
        status, answer = await self._transport.plain("/readyz")
        return status == 200, list(answer.get("problems", []))

    async def test_alert(self, route: str) -> Document:
        """Queue a test message."""
        notice: Document = await self._transport.post("/alerts:test", {"to": route})
        return notice

    async def set_secret(self, name: str, value: str) -> None:
        """Set or replace a secret."""
        await self._transport.request("PUT", f"/secrets/{quote(name, safe='')}", body={"value": value})

    async def remove_secret(self, name: str) -> None:
        """Remove a secret."""
        await self._transport.request("DELETE", f"/secrets/{quote(name, safe='')}")

    async def create_token(
        self,
        name: str,
        scopes: Sequence[str],
        expires: datetime | None = None,
        *,
        uses: int | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Document:
        """A new token; the answer alone holds its text. `uses` and `labels` are those of a join token."""
        body: Document = {"name": name, "scopes": list(scopes), "expires": expires.isoformat() if expires else None}
        body |= {"uses": uses, "labels": None if labels is None else dict(labels)}
        token: Document = await self._transport.post("/tokens", body)
        return token

    async def revoke_token(self, token_id: str) -> Document:
        """End a token."""
        token: Document = await self._transport.request("DELETE", f"/tokens/{quote(token_id, safe='')}")
        return token

    async def revoke_worker(self, name: str) -> Document:
        """End a worker's token."""
        ended: Document = await self._transport.request("DELETE", f"/workers/{quote(name, safe='')}/token")
        return ended

    async def accept_restore(self) -> bool:
        """Let at-most-once work go on after a restore; whether it was held."""
        answer = await self._transport.post("/store:accept-restore")
        return bool(answer["was_held"])

    async def login_link(self) -> str:
        """The path of a one-use login link."""
        answer = await self._transport.post("/login-links")
        return str(answer["path"])
