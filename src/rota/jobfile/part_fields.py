"""The keys inside http, expect, retry, alert and keep."""

from typing import Final

from rota.jobfile.fields import Field, table

METHODS: Final = ("get", "post", "put", "patch", "delete", "head", "options")

HTTP_KEYS: Final = {
    **table(
        *(
            Field(
                name=method,
                shape="text",
                takes="a url",
                example='"https://example.com/hook"',
                meaning=f"A {method.upper()} request to this url.",
            )
            for method in METHODS
        )
    ),
    **table(
        Field(
            name="request",
            shape="text",
            takes="METHOD url",
            example='"PURGE https://example.com/cache"',
            meaning="A request with any other method.",
        ),
        Field(
            name="headers",
            shape="map",
            takes="name → text",
            default="none",
            example='{ Accept: application/json, Authorization: "Bearer ${secret.API_TOKEN}" }',
            meaning="Headers of the request.",
        ),
        Field(
            name="body",
            shape="text",
            takes="a text",
            default="none",
            example='"day=${due.date}"',
            meaning="Body of the request. Not together with `json`.",
        ),
        Field(
            name="json",
            shape="value",
            takes="any value",
            default="none",
            example='{ day: "${due.date}", full: true }',
            meaning="Body of the request, sent as JSON with its content type.",
        ),
        Field(
            name="expect",
            shape="map",
            takes="see below",
            default="{ status: 2xx }",
            example='{ status: 200, json: "$.rates.EUR exists" }',
            meaning="What the answer must be for the attempt to succeed.",
        ),
        Field(
            name="follow-redirects",
            shape="value",
            takes="a number from 0 to 20, or true or false",
            default="5",
            example="0",
            meaning="How many redirects are followed.",
        ),
    ),
}

EXPECT_KEYS: Final = table(
    Field(
        name="status",
        shape="texts",
        takes="a status, `2xx` or `200..204`, or a list of them",
        default="2xx",
        example="[200, 204]",
        meaning="The statuses that count as success.",
    ),
    Field(
        name="headers",
        shape="map",
        takes="name → text",
        default="none",
        example="{ Content-Type: json }",
        meaning="Text that a header of the answer must contain.",
    ),
    Field(
        name="json",
        shape="texts",
        takes="`$.path exists` or `$.path == value` (also != < <= > >=), or a list of them",
        default="none",
        example='["$.ok == true", "$.items[0].id exists"]',
        meaning="What must hold in the JSON of the answer.",
    ),
    Field(
        name="body",
        shape="text",
        takes="a text",
        default="none",
        example="Welcome",
        meaning="Text that the answer must contain.",
    ),
    Field(
        name="max-body",
        shape="text",
        takes="a size",
        default="none",
        example="2MiB",
        meaning="A longer answer fails the attempt; measured after decompression.",
    ),
)

RETRY_KEYS: Final = table(
    Field(
        name="tries",
        shape="number",
        takes="a number from 1 to 100",
        default="1",
        example="4",
        meaning="Attempts in all, the first included.",
    ),
    Field(
        name="wait",
        shape="text",
        takes="a duration or a range MIN..MAX",
        default="30s..10m",
        example="30s..10m",
        meaning="Wait before the next try; it doubles from the first to the second value.",
    ),
    Field(
        name="jitter",
        shape="text",
        takes="a percentage",
        default="20%",
        example="20%",
        meaning="Part of the wait that is added or taken away at random.",
    ),
    Field(
        name="when",
        shape="texts",
        takes="kinds of failure",
        default="every kind",
        example="[timeout, connect, http-5xx, http-429]",
        meaning="Only these kinds of failure are retried.",
    ),
)

ALERT_KEYS: Final = table(
    Field(
        name="to",
        shape="texts",
        takes="channel:target, or a list of them",
        default="nobody",
        example='["mail:ops@example.com"]',
        meaning="Who is told.",
    ),
    Field(
        name="when",
        shape="texts",
        takes="`failed`, `missed`, `late`, `recovered`, `output`",
        default="[failed, recovered]",
        example="[failed, late, recovered]",
        meaning="Of what. `output`: whenever a run wrote anything, as cron does. `recovered`: the first success after "
        "a `failed` that was told; nothing recovers from `late` or `missed`.",
    ),
    Field(
        name="runbook",
        shape="text",
        takes="a url",
        default="none",
        example='"https://wiki.example.com/run/rates"',
        meaning="Linked in every message.",
    ),
)

KEEP_KEYS: Final = table(
    Field(
        name="history",
        shape="text",
        takes="a duration",
        default="90d, or the server's setting",
        example="30d",
        meaning="How long runs are kept.",
    ),
    Field(
        name="logs",
        shape="text",
        takes="a duration",
        default="30d, or the server's setting",
        example="7d",
        meaning="How long output is kept.",
    ),
)
