import io
import os
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from rota.cli import times
from rota.cli.common import Show, Times
from rota.cli.exits import OF_STATE, exit_code
from rota.cli.terminal import STATE_GLYPHS, Cell, Screen, log_text, paint, plain, state_cell
from rota.client.errors import NoServerKnown, NotRota, ServerFailed, Unreachable
from rota.core.errors import Conflict, Invalid, NotAllowed, NotAuthenticated, NotFound, RotaError, StoreUnavailable
from rota.core.model import RunState
from rota.core.query_language import QueryError
from rota.core.small_lists import matcher

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


class Terminal(io.StringIO):
    """A stdout that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    return Terminal()


# ── text that others wrote ───────────────────────────────────────────────────────────────────────────────

CONTROLS = st.text(alphabet=st.characters() | st.sampled_from("\x1b\x07\r\x9b\u202e\u2028\x00[]0;m"), max_size=60)


@given(CONTROLS)
def test_plain_text_has_no_control_left(text: str) -> None:
    shown = plain(text)
    assert all(char.isprintable() or char in " \u200d\xa0" or not char.isascii() for char in shown)
    assert not set(shown) & set("\x1b\x07\r\n\t\x9b\u202e\u2028\x00")


@given(CONTROLS)
def test_of_a_log_only_colours_pass(text: str) -> None:
    assert "\x1b" not in log_text(text, colour=False)
    coloured = log_text(text, colour=True)
    for rest in coloured.split("\x1b")[1:]:
        assert rest[0] == "["
        assert rest[1:].lstrip("0123456789;:")[0] == "m"
    assert not set(coloured) & set("\x07\r\n\x9b\u202e\u2028\x00")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("größe → 失敗 👩‍🚀", "größe → 失敗 👩‍🚀"),
        ("\x1b]8;;http://evil\x07link", "\\x1b]8;;http://evil\\x07link"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\tb", "a\tb"),
        ("10%\r20%", "10%\\x0d20%"),
        ("\x9b31m", "\\x9b31m"),
        ("\udc80", "\\udc80"),
    ],
)
def test_what_is_not_obeyed_is_shown(text: str, shown: str) -> None:
    assert log_text(text, colour=False) == shown


def test_a_coloured_line_ends_without_colour() -> None:
    assert log_text("\x1b[31mred", colour=True) == "\x1b[31mred\x1b[0m"
    assert log_text("\x1b[31mred\x1b[0m", colour=False) == "red"


def test_a_million_colours_are_quick() -> None:
    assert log_text("\x1b[31m" * 200_000, colour=False) == ""


# ── tables and talk ──────────────────────────────────────────────────────────────────────────────────────


def test_columns_line_up_with_wide_characters() -> None:
    out = io.StringIO()
    Screen(colour=False, out=out).table(["NAME", "N"], [["失敗", "1"], ["ab", "22"], [Cell("é\x1b", "bad"), "3"]])
    lines = out.getvalue().splitlines()
    assert [cell_len(line[: line.rindex(line.split()[-1])]) for line in lines] == [7, 7, 7, 7]
    assert lines[3] == "é\\x1b  3"


def test_a_pipe_gets_everything_and_a_terminal_what_fits(terminal: Terminal) -> None:
    row = ["name", "x" * 100]
    out = io.StringIO()
    Screen(out=out).table(["A", "B"], [row])
    assert "x" * 100 in out.getvalue()
    Screen(colour=False, out=terminal).table(["A", "B"], [row])
    assert all(cell_len(line) <= 40 for line in terminal.getvalue().splitlines())
    assert "…" in terminal.getvalue()


def test_colour_only_on_a_terminal_that_wants_it(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Screen(out=terminal).colour
    assert not Screen(out=io.StringIO()).colour
    assert not Screen(out=terminal, colour=False).colour
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Screen(out=terminal).colour
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not Screen(out=terminal).colour


def test_talk_is_on_stderr_and_quiet_keeps_complaints(capsys: pytest.CaptureFixture[str]) -> None:
    Screen(quiet=True).talk("progress")
    Screen(quiet=True).complain("wrong")
    Screen().next_step("rota ls")
    done = capsys.readouterr()
    assert done.out == ""
    assert done.err == "wrong\nNext: rota ls\n"


def test_every_state_has_a_glyph_and_an_exit_code() -> None:
    for state in RunState:
        assert state.value in STATE_GLYPHS
        assert state_cell(state.value).text.endswith(state.value)
        assert (state.value in OF_STATE) == state.is_final
    assert len(set(STATE_GLYPHS.values())) >= len(RunState)


def test_paint_of_nothing_is_nothing() -> None:
    assert paint("", "bad") == ""
    assert paint("x", "") == "x"
    assert paint("x", "bad") == "\x1b[31mx\x1b[0m"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound(), 3),
        (NotAuthenticated(), 4),
        (NotAllowed(), 4),
        (Conflict(), 5),
        (Unreachable(), 6),
        (NoServerKnown(), 6),
        (NotRota(), 6),
        (StoreUnavailable(), 6),
        (Invalid(), 2),
        (QueryError(), 2),
        (ServerFailed(), 1),
        (RotaError(), 1),
    ],
)
def test_exit_code_of_each_error(error: RotaError, code: int) -> None:
    assert exit_code(error) == code


# ── times ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        ("2026-11-23T12:00:00.000000Z", "13:00 CET"),
        ("2026-11-23T12:00:05.000000Z", "13:00:05 CET"),
        ("2026-11-23T23:30:00.000000Z", "tomorrow 00:30 CET"),
        ("2026-11-22T01:00:00.000000Z", "yesterday 02:00 CET"),
        ("2026-07-01T01:00:00.000000Z", "Wed 2026-07-01 03:00 CEST"),
        (None, ""),
    ],
)
def test_a_clock_says_as_much_as_is_needed(moment: str | None, shown: str) -> None:
    assert times.clock(moment, BERLIN, NOON) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "now"), (240, "in 4m"), (-180, "3m ago"), (90061, "in 1d 1h"), (-0.4, "now")]
)
def test_how_far_away(seconds: float, shown: str) -> None:
    assert times.relative((NOON + timedelta(seconds=seconds)).isoformat(), NOON) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, ""), (0.0042, "4.2ms"), (0.5, "0.50s"), (9.99, "9.99s"), (75.2, "1m 15s")]
)
def test_how_long_it_took(seconds: float | None, shown: str) -> None:
    assert times.span(seconds) == shown


def test_programs_get_iso_times_and_people_relative_ones() -> None:
    text = "2026-11-23T12:00:00.000000Z"
    programs, people = Times(for_people=False, utc=False), Times(for_people=True, utc=False)
    assert programs.at(text) == "2026-11-23T12:00:00Z"
    assert programs.at(text, "Europe/Berlin") == "2026-11-23T13:00:00+01:00"
    assert programs.away(text) == "2026-11-23T12:00:00Z"
    people.now = NOON
    assert people.at(text, "Europe/Berlin") == "13:00 CET"
    assert people.away(text) == "now"
    assert Times(for_people=False, utc=True).at(text, "Europe/Berlin") == "2026-11-23T12:00:00Z"
    assert programs.at(None) == people.away(None) == ""
    assert programs.at(text, "Mars/Olympus") == "2026-11-23T12:00:00Z"
    assert times.iso("2026-11-23T12:00:00.500000Z") == "2026-11-23T12:00:00.500Z"


@pytest.mark.parametrize(
    ("text", "ahead"),
    [
        ("2h", timedelta(hours=2)),
        ("+90m", timedelta(minutes=90)),
        ("in 5m", timedelta(minutes=5)),
        ("14:00", timedelta(hours=1)),
        ("12:00", timedelta(hours=23)),
        ("tomorrow", timedelta(hours=11)),
        ("tomorrow 09:30", timedelta(hours=20, minutes=30)),
        ("2026-11-24T12:00Z", timedelta(days=1)),
        ("2026-11-24", timedelta(hours=11)),
    ],
)
def test_times_that_lie_ahead(text: str, ahead: timedelta) -> None:
    assert times.future(text, NOON, BERLIN) - NOON == ahead


@pytest.mark.parametrize(
    ("text", "away"),
    [
        ("03:00", timedelta(hours=-10)),
        ("yesterday 03:00", timedelta(hours=-34)),
        ("tomorrow", timedelta(hours=11)),
        ("tomorrow 03:00", timedelta(hours=14)),
        ("today 14:30:15", timedelta(hours=1, minutes=30, seconds=15)),
        ("-36h", timedelta(hours=-36)),
        ("+2h", timedelta(hours=2)),
        ("2026-11-23T12:00+01:00", timedelta(hours=-1)),
    ],
)
def test_times_that_are_named(text: str, away: timedelta) -> None:
    assert times.past_or_future(text, NOON, BERLIN) - NOON == away


@pytest.mark.parametrize("text", ["soon", "25:00", "yesterday noon", "+soon", "99999999999999d", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    for read in (times.future, times.past_or_future):
        with pytest.raises(Invalid):
            read(text, NOON, BERLIN)


# ── filters and documents ────────────────────────────────────────────────────────────────────────────────

FIELDS = {"name": lambda one: one["name"], "state": lambda one: one["state"]}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["w-1", "w-2", "x-1"]),
        ("name:w-*", ["w-1", "w-2"]),
        ("state:lost", ["w-2"]),
        ("state:UP name:w-1,x-1", ["w-1", "x-1"]),
        ("-state:lost", ["w-1", "x-1"]),
        ("lost", ["w-2"]),
        ("name:w-* -name:w-2", ["w-1"]),
    ],
)
def test_queries_over_small_lists(query: str, names: list[str]) -> None:
    items = [{"name": "w-1", "state": "up"}, {"name": "w-2", "state": "lost"}, {"name": "x-1", "state": "up"}]
    assert [one["name"] for one in items if matcher(query, FIELDS)(one)] == names


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(QueryError) as caught:
        matcher("staet:up", FIELDS)
    assert "state" in (caught.value.hint or "")


def test_documents_are_whole_or_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"items": [{"a": "ü"}, {"a": 2}], "next": None}
    Show(json=True).emit(Screen(), document)
    assert capsys.readouterr().out.startswith('{\n  "items": [')
    Show(jsonl=True).emit(Screen(), document)
    assert capsys.readouterr().out == '{"a": "ü"}\n{"a": 2}\n'
    Show(jsonl=True).emit(Screen(), {"a": 1})
    assert capsys.readouterr().out == f'{{"a": 1}}{os.linesep}'
