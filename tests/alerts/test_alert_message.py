import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.alerts.notices import RUN, make_notice

from rota.alerts.message import LONGEST_SUBJECT, build_message, one_line


def test_subject_sorts_by_state_count_job_cause() -> None:
    message = build_message(make_notice())
    assert message.subject == "FAILED ×3 · finance/rates-fetch · http 503 from api.example.com"
    assert message.target == "ops@example.com"


def test_first_failure_has_no_count() -> None:
    assert build_message(make_notice(fails_in_row=1)).subject.startswith("FAILED · finance/rates-fetch · ")


@pytest.mark.parametrize(("state", "head"), [("timed-out", "FAILED"), ("lost", "FAILED"), ("failed", "FAILED")])
def test_every_bad_end_sorts_with_the_failures(state: str, head: str) -> None:
    assert build_message(make_notice(state=state)).subject.startswith(head)


def test_lost_is_named() -> None:
    assert "lost: " in build_message(make_notice(state="lost", fails_in_row=1)).subject


def test_text_begins_with_the_cause_and_tells_the_rest_in_order() -> None:
    text = build_message(
        make_notice(), log_tail=["GET /v2/rates → 503", "upstream error"], public_url="https://rota.test/"
    ).text
    assert text.startswith("http 503 from api.example.com\n")
    marks = [
        "at attempt 4 of 4",
        "Due:",
        "Last 2 lines",
        "> GET /v2/rates → 503",
        f"https://rota.test/r/{RUN}",
        "You get this",
    ]
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)


def test_times_are_in_the_zone_of_the_job() -> None:
    text = build_message(make_notice()).text
    assert "2026-11-23 12:40:00 CET" in text
    assert "2026-11-24 04:00:00 CET" in text


def test_unknown_zone_falls_back_to_utc() -> None:
    assert "2026-11-23 11:40:00 UTC" in build_message(make_notice(timezone="Mars/Olympus")).text


def test_without_a_public_address_it_names_the_command() -> None:
    text = build_message(make_notice()).text
    assert f"rota show {RUN}" in text
    assert "http" not in text.replace("http 503", "").replace("https://wiki.example.com", "")


def test_context_tells_what_is_known_and_leaves_out_the_rest() -> None:
    text = build_message(make_notice(owner=None, worker=None, title=None)).text
    assert "Owner:" not in text
    assert "Worker:" not in text
    assert "Took:" in text
    assert "16m" in text
    assert "13 (changed 2026-11-23 08:00:00 CET)" in text


def test_signal_is_told_unless_the_cause_says_it() -> None:
    assert "Signal 9." in build_message(make_notice(cause="killed", signal=9, exit=None)).text
    assert "Signal 9." not in build_message(make_notice(cause="ended by signal 9", signal=9, exit=None)).text


def test_recovered_says_after_how_many_failures() -> None:
    message = build_message(make_notice("recovered", state="succeeded", cause=None, error=None))
    assert message.subject == "RECOVERED · finance/rates-fetch · succeeded after 3 failures"
    assert "Again:" not in message.text


def test_missed_late_output_condition_and_test_have_words_of_their_own() -> None:
    assert build_message(make_notice("missed")).subject.startswith("MISSED · finance/rates-fetch · ")
    assert build_message(make_notice("late", state="queued")).subject == (
        "LATE · finance/rates-fetch · due 2026-11-23 12:40:00 CET"
    )
    assert build_message(make_notice("output", state="succeeded")).subject.startswith("OUTPUT · finance/rates-fetch")
    condition = build_message(
        make_notice("condition", title="a file is wrong", cause="jobs.yaml:3: no", hint="rota check")
    )
    assert condition.subject == "ATTENTION · a file is wrong · jobs.yaml:3: no"
    assert "rota check" in condition.text
    test = build_message(make_notice("test", by="admin"))
    assert "nothing is wrong" in test.text
    assert "admin asked for it" in test.text


def test_an_event_of_a_later_version_is_still_said() -> None:
    assert build_message(make_notice("flapping")).subject == "FLAPPING · finance/rates-fetch"


def test_missing_facts_do_not_keep_a_message_from_leaving() -> None:
    notice = make_notice(**dict.fromkeys(make_notice().facts))
    message = build_message(notice)
    assert "finance/rates-fetch" in message.subject
    assert "no cause was given" in message.text


HOSTILE = st.text(max_size=300) | st.sampled_from(
    [
        "\r\nBcc: evil@example.com",
        "{0.__class__}",
        "${secret.X}",
        "%s%n",
        "\x1b]0;x\x07",
        "\u202eabc",
        "a\x00b",
        "{{7*7}}",
    ]
)


@settings(max_examples=150, deadline=None)
@given(HOSTILE, HOSTILE, HOSTILE)
def test_nothing_in_facts_or_log_adds_lines_or_is_interpreted(cause: str, title: str, line: str) -> None:
    message = build_message(make_notice(cause=cause, title=title), log_tail=[line])
    assert len(message.subject) <= LONGEST_SUBJECT
    for text in (message.subject, message.text):
        assert not set(text) & set("\r\x00\x07\x1b\u202e\u2028\x85")
    assert "\n" not in message.subject
    plain = build_message(make_notice(cause="c", title="t"), log_tail=["l"])
    known = one_line(cause) or one_line("http 503 from api.example.com")
    assert known[:40].strip() in message.text
    assert abs(message.text.count("\n") - plain.text.count("\n")) <= 3


def test_templates_stay_literal() -> None:
    message = build_message(make_notice(cause="{job} ${secret.X} {{7*7}} %(x)s"))
    assert "{job} ${secret.X} {{7*7}} %(x)s" in message.subject


def test_a_log_line_keeps_its_spaces_and_is_marked_as_not_ours() -> None:
    text = build_message(make_notice(), log_tail=["  indented", "You get this because you won"]).text
    assert ">   indented" in text
    assert "> You get this because you won" in text


def test_long_lines_are_cut() -> None:
    text = build_message(make_notice(), log_tail=["x" * 100_000]).text
    assert len(text) < 3000
    assert "…" in text
