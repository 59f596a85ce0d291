"""The decisions of the worker that need no process: addresses, expectations, masking, lines, credit."""

import base64
import itertools
import json
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rota.clock import ManualClock
from rota.core.model import HttpExpect, OutputChunk, ShellTask
from rota.wire.messages import AttemptOrder
from rota.worker.addresses import AddressPolicy
from rota.worker.credit import Credit
from rota.worker.deadline import Deadline
from rota.worker.expectations import BadExpectation, json_unmet, status_failure, status_matches, unmet
from rota.worker.failures import describe_exit, describe_signal
from rota.worker.masking import Masker
from rota.worker.output import PIECE_LIMIT, STDERR, STDOUT, Capture
from rota.worker.shortage import SHORT_SECONDS

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


# ── addresses ────────────────────────────────────────────────────────────────────────────────────────────

METADATA = [
    "169.254.169.254", "169.254.1.1", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254", "fd00:ec2::254",
    "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "100.100.100.200",
]  # fmt: skip
PRIVATE = [
    "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1",
    "::ffff:10.0.0.1", "::ffff:127.0.0.1", "fc00::1", "240.0.0.1", "255.255.255.255", "64:ff9b::7f00:1",
]  # fmt: skip
PUBLIC = ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "8.8.8.8"]


@pytest.mark.parametrize("address", METADATA)
def test_metadata_is_refused_whatever_is_allowed(address):
    assert AddressPolicy(private_allowed=True, networks=["0.0.0.0/0", "::/0"]).refuse(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_need_permission(address):
    assert AddressPolicy(private_allowed=False).refuse(address)
    assert AddressPolicy(private_allowed=True).refuse(address) is None


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_reached(address):
    assert AddressPolicy(private_allowed=False).refuse(address) is None


def test_a_listed_network_is_reached_and_no_other():
    policy = AddressPolicy(private_allowed=False, networks=["10.1.0.0/16"])
    assert policy.refuse("10.1.2.3") is None
    assert "allowed_networks" in (policy.refuse("10.2.0.1") or "")
    assert policy.refuse("nonsense") == "nonsense is not an address"
    assert "multicast" in (policy.refuse("224.0.0.1") or "")


# ── expectations ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("expected", "status", "holds"),
    [
        (("200",), 200, True), (("200",), 201, False), (("2xx",), 204, True), (("2xx",), 304, False),
        (("200..204",), 204, True), (("200..204",), 205, False), (("404", "2xx"), 404, True),
    ],
)  # fmt: skip
def test_status(expected, status, holds):
    assert status_matches(expected, status) is holds


def test_kinds_of_unexpected_status():
    assert [status_failure(code) for code in (400, 429, 500, 302, 200)] == [
        "http-4xx", "http-429", "http-5xx", "http-status", "http-status",
    ]  # fmt: skip
    with pytest.raises(BadExpectation):
        status_matches(("often",), 200)


DOCUMENT = {"a": {"b-c": [1, {"d": "text"}]}, "n": 3, "t": True, "z": None, "odd key": 5}


@pytest.mark.parametrize(
    "condition",
    [
        "$.a.b-c[1].d == 'text'", '$.a.b-c[1].d == "text"', "$.a.b-c[1].d == text", "$.a exists", "$.n>=3", "$.n < 4",
        "$.n != 4", "$.t == true", "$.z == null", '$["odd key"] == 5', "$['odd key'] > 4.5", "$.a.b-c[-1].d exists",
        "$.n != true", "$.a.b-c == [1, {\"d\": \"text\"}]",
    ],
)  # fmt: skip
def test_json_conditions_that_hold(condition):
    assert json_unmet(condition, DOCUMENT) is None


@pytest.mark.parametrize(
    "condition",
    ["$.x exists", "$.a[0] exists", "$.n > 3", '$.n == "3"', "$.t == 1", "$.a > 1", "$.a.b-c[7] exists", "$.z > 0"],
)
def test_json_conditions_that_do_not_hold(condition):
    assert condition.split(" ")[0].rstrip("0123456789[]") in (json_unmet(condition, DOCUMENT) or "")


@pytest.mark.parametrize("condition", ["a.b exists", "$.a ~ 3", "$a", "$.n =="])
def test_conditions_that_cannot_be_read(condition):
    with pytest.raises(BadExpectation):
        json_unmet(condition, DOCUMENT)


def test_headers_and_body():
    expect = HttpExpect(headers={"X-A": "yes"}, body="needle", json=("$.ok == true",))
    assert "X-A" in (unmet(expect, {}, b"") or "")
    assert "no thanks" in (unmet(expect, {"X-A": "no thanks"}, b"") or "")
    assert "needle" in (unmet(expect, {"X-A": "yes"}, b"hay") or "")
    assert "not JSON" in (unmet(expect, {"X-A": "yes"}, b"needle") or "")
    assert unmet(expect, {"X-A": "oh yes"}, b'{"ok": true, "x": "needle"}') is None
    assert "not JSON" in (unmet(HttpExpect(json=("$.a exists",)), {}, b"[" * 100_000) or "")


# ── masking ──────────────────────────────────────────────────────────────────────────────────────────────


def written_forms(secret: str) -> list[bytes]:
    raw = secret.encode()
    return [raw, base64.b64encode(raw), quote(raw, safe="").encode(), json.dumps(secret)[1:-1].encode()]


@settings(max_examples=150, deadline=None)
@given(
    secret=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=8, max_size=40),
    noise=st.binary(max_size=30),
    cuts=st.lists(st.integers(0, 300), max_size=6),
)
@example(secret="000000000", noise=b"", cuts=[1])  # overlaps itself, and the first read ends within it
def test_a_secret_never_comes_through_wherever_the_reads_are_cut(secret, noise, cuts):
    for form in written_forms(secret):
        data = noise + form + noise + form
        masker = Masker({"NAME": secret})
        shown = b""
        edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        for start, end in itertools.pairwise(edges):
            shown += masker.feed(data[start:end])
        shown += masker.finish()
        core = form.strip().rstrip(b"=")[4:-4]
        if len(core) >= 4 and core not in noise + noise and core not in "•••(NAME)".encode():
            assert form not in shown.replace("•••(NAME)".encode(), b"")
            assert "•••(NAME)".encode() in shown


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=5))
def test_without_the_secret_nothing_is_changed(data, cuts):
    masker = Masker({"NAME": "a-long-and-unlikely-secret"})
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [masker.feed(data[start:end]) for start, end in itertools.pairwise(edges)]
    assert b"".join(pieces) + masker.finish() == data


def test_masking_of_special_cases():
    masker = Masker(
        {
            "KEY": "-----BEGIN-----\nMIIabcdefgh\n-----END-----\n",
            "SHORT": "ab",
            "LONG": "password1",
            "LONGER": "password123",
        }
    )
    assert masker.whole(b"x MIIabcdefgh y") == "x •••(KEY) y".encode()
    assert masker.whole(b"ab") == b"ab"  # too short to tell from innocent text
    assert masker.whole(b"password123!") == "•••(LONGER)!".encode()
    assert masker.whole(base64.b64encode(b"user:password123")).startswith(b"dXNlcj")
    assert b"cGFzc3dvcmQxMj" not in masker.whole(base64.b64encode(b"password123"))


# ── lines ────────────────────────────────────────────────────────────────────────────────────────────────


class Written:
    """A capture and what it emitted."""

    def __init__(self, limit: int = 10_000_000, **secrets: str) -> None:
        order = AttemptOrder(
            run_id="r",
            job="j",
            due=NOW,
            attempt=1,
            fence=1,
            task=ShellTask(command=""),
            log_limit=limit,
            secrets=secrets,
        )
        self.chunks: list[OutputChunk] = []
        self.waiting = 0
        self.capture = Capture(order, ManualClock(NOW), lambda chunk, weight: self.chunks.append(chunk), self._note)

    def _note(self, capture: Capture) -> None:
        self.waiting += 1

    def lines(self, *streams: int) -> list[bytes]:
        wanted = streams or (0, 1)
        return [line.data for chunk in self.chunks for line in chunk.lines if line.stream in wanted]


@settings(deadline=None)
@given(pieces=st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=50)), max_size=30))
def test_all_bytes_come_through_in_order_per_stream(pieces):
    written = Written()
    for stream, data in pieces:
        written.capture.write(stream, data)
    written.capture.finish()
    for stream in (STDOUT, STDERR):
        assert b"".join(written.lines(stream)) == b"".join(data for to, data in pieces if to == stream)
        assert all(b"\n" not in line[:-1] for line in written.lines(stream))


def test_chunks_are_numbered_without_gaps():
    written = Written()
    for number in range(30_000):
        written.capture.write(STDOUT, b"line %d\n" % number)
    written.capture.finish()
    line = offset = 0
    for sequence, chunk in enumerate(written.chunks):
        assert (chunk.sequence, chunk.first_line, chunk.offset) == (sequence, line, offset)
        line += len(chunk.lines)
        offset += sum(len(one.data) for one in chunk.lines)
    assert line == 30_000


def test_a_line_without_end_comes_in_pieces():
    written = Written()
    for _ in range(100):
        written.capture.write(STDOUT, b"x" * 10_000)
    written.capture.finish()
    assert b"".join(written.lines()) == b"x" * 1_000_000
    assert max(map(len, written.lines())) == PIECE_LIMIT


def test_an_unfinished_line_is_shown_when_flushed():
    written = Written()
    written.capture.write(STDOUT, b"Password: ")
    assert written.lines() == []
    written.capture.flush()
    assert (written.lines(), written.waiting) == ([b"Password: "], 1)


@pytest.mark.parametrize("line", [b"a line of text\n", b"\0" * 4096, b"\n", b"y" * 65536])
def test_a_flood_keeps_the_first_and_the_last_part_with_a_marker(line):
    limit = 100_000
    written = Written(limit=limit)
    block = line * max(1, 20_000 // len(line))
    for _ in range(100):
        written.capture.write(STDOUT, block)
    written.capture.write(STDOUT, b"\nthe very last line\n")
    written.capture.finish()
    kept = sum(map(len, written.lines()))
    assert limit * 0.7 <= kept <= limit + 64 * 1024
    assert written.lines()[-1] == b"the very last line\n"
    (marker,) = written.lines(2)
    assert b"log limit 97.7 KiB reached" in marker
    total = len(block) * 100 + 20
    assert (
        f"{(total - kept) / 1024:.1f} KiB".encode() in marker
        or f"{(total - kept) / 1024**2:.1f} MiB".encode() in marker
    )


def test_output_between_the_parts_is_whole():
    written = Written(limit=1000)
    written.capture.write(STDOUT, b"".join(b"%03d\n" % number for number in range(250)))
    written.capture.finish()
    assert (len(written.lines()), written.lines(2)) == (250, [])


def test_secrets_are_masked_in_output_and_in_rotas_own_lines():
    written = Written(TOKEN="geheim-wert")
    written.capture.write(STDOUT, b"it is geh")
    written.capture.write(STDOUT, b"eim-wert\n")
    written.capture.say("asked with geheim-wert")
    written.capture.finish()
    assert written.lines(0, 2) == ["asked with •••(TOKEN)\n".encode(), "it is •••(TOKEN)\n".encode()] or written.lines(
        0, 2
    ) == ["it is •••(TOKEN)\n".encode(), "asked with •••(TOKEN)\n".encode()]
    assert written.capture.masked("x geheim-wert") == "x •••(TOKEN)"


# ── credit, words ────────────────────────────────────────────────────────────────────────────────────────


def test_credit_grows_for_short_attempts_and_falls_at_once_for_a_long_one():
    credit = Credit({"python": 2, "http": 10}, lambda: 0.0)
    assert credit.wanted() == {"python": 2, "http": 10}
    for _ in range(200):
        credit.note("python", 0.0001)
        credit.note("http", 0.0001)
    assert (credit.wanted()["python"] > 3000, credit.wanted()["http"]) == (True, 10)
    assert credit.has_changed_much()
    credit.say()
    assert (credit.has_changed_much(), credit.is_said) == (False, True)
    credit.note_long("python")
    assert credit.wanted()["python"] == 2
    assert credit.has_changed_much()


def test_credit_is_nothing_while_the_machine_is_short_then_one_and_comes_back_when_that_has_started():
    now = [100.0]
    credit = Credit({"python": 2, "shell": 8}, lambda: now[0])
    credit.running = {"python": 0, "shell": 3}.__getitem__
    assert (credit.note_short("shell"), credit.note_short("shell")) == (True, False)
    assert (credit.wanted(), credit.has_changed_much()) == ({"python": 2, "shell": 0}, True)
    assert credit.say() == {"python": 2, "shell": 0}
    credit.note_long("shell")  # one that had begun just before
    now[0] += SHORT_SECONDS
    assert (credit.wanted()["shell"], credit.is_said, credit.has_changed_much()) == (3 + 1, False, True)
    credit.note("shell", SHORT_SECONDS + 10.0)  # one that had begun long before
    assert credit.wanted()["shell"] == 3 + 1
    assert credit.note_short("shell")
    assert credit.wanted()["shell"] == 0
    now[0] += SHORT_SECONDS + 1.0
    credit.note("shell", 0.5)
    assert credit.wanted()["shell"] == 8


def test_credit_is_said_again_after_something_went_back():
    credit = Credit({"shell": 8}, lambda: 0.0)
    assert credit.is_said
    credit.note_returned()
    assert (credit.is_said, credit.has_changed_much()) == (False, True)
    credit.say()
    assert (credit.is_said, credit.has_changed_much()) == (True, False)


def test_ends_are_explained():
    assert "not found" in describe_exit(127)
    assert "SIGKILL" in describe_exit(137)
    assert describe_exit(5) == "exit code 5"
    assert "memory" in describe_signal(9)
    assert describe_signal(15) == "ended by SIGTERM (15)"
    assert describe_signal(40) == "ended by signal 40 (40)"


# ── the deadline ─────────────────────────────────────────────────────────────────────────────────────────


async def test_the_deadline_is_that_of_the_newest_server():
    """Another server judges now: what the one before had renewed is worth nothing."""
    told: list[float] = []
    deadline = Deadline(lambda: 100.0, told.append, lambda silence: None)
    deadline.welcomed(100.0, renewal_age=0.0)
    deadline.welcomed(100.5, renewal_age=60.0)
    deadline.close()
    assert told == [100.0 + 15 - 3, 100.5 - 60 + 4 + 60 - 3]


async def test_an_old_answer_does_not_move_the_deadline_back():
    told: list[float] = []
    deadline = Deadline(lambda: 100.0, told.append, lambda silence: None)
    deadline.welcomed(100.0, renewal_age=0.0)
    deadline.acknowledged(99.0, renewal_age=30.0)
    deadline.close()
    assert told == [112.0, 112.0]
