"""`${…}` values: one pass, no code, harmless where they land."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.core.template import (
    BadTemplate,
    fill,
    fill_header,
    fill_json,
    fill_url,
    names,
    run_values,
    secret_names,
)

VALUES = run_values(
    run_id="run-1",
    due=datetime(2026, 11, 23, 2, 0, tzinfo=UTC),
    timezone="Europe/Berlin",
    attempt=2,
    params={"x": "a b&c", "json": '"},{"'},
    secrets={"TOKEN": "s3cret"},
)


def test_every_value_is_filled() -> None:
    text = "${due}|${due.date}|${due.time}|${run.id}|${run.attempt}|${params.x}|${secret.TOKEN}"
    assert fill(text, VALUES) == "2026-11-23T02:00:00Z|2026-11-23|03:00:00|run-1|2|a b&c|s3cret"


def test_the_date_is_that_of_the_jobs_zone() -> None:
    late = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
    values = run_values(run_id="r", due=late, timezone="Europe/Berlin", attempt=1, params={}, secrets={})
    assert values["due.date"] == "2026-11-24"


def test_filling_is_one_pass() -> None:
    assert fill("${a}", {"a": "${b}", "b": "never"}) == "${b}"


def test_a_literal_is_written_with_two_dollars() -> None:
    assert fill("$${due} $5 $", VALUES) == "${due} $5 $"
    assert list(names("$${due}")) == []


@pytest.mark.parametrize(("text", "position"), [("x ${nope}", 2), ("${", 0), ("ab${due", 2), ("${}", 0)])
def test_unknown_and_open_values_are_refused_with_their_place(text: str, position: int) -> None:
    with pytest.raises(BadTemplate) as caught:
        fill(text, VALUES)
    assert caught.value.position == position


def test_values_cannot_start_a_new_part_of_a_url() -> None:
    assert fill_url("https://x/?q=${params.x}&y=1", VALUES) == "https://x/?q=a%20b%26c&y=1"


def test_values_cannot_break_a_header() -> None:
    assert fill_header("Bearer ${secret.TOKEN}", VALUES) == "Bearer s3cret"
    with pytest.raises(BadTemplate):
        fill_header("${a}", {"a": "x\r\nEvil: 1"})


@given(st.text())
def test_values_cannot_leave_their_json_string(value: str) -> None:
    assert json.loads(fill_json('{"a":"${params.x}"}', {"params.x": value})) == {"a": value}


@given(st.text())
def test_text_without_values_stays_as_it_is(text: str) -> None:
    if "${" not in text:
        assert fill(text, {}) == text


def test_secrets_in_use_are_named() -> None:
    assert secret_names("${secret.A} ${due}", "x ${secret.B}${secret.A}") == {"A", "B"}
