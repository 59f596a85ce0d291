"""Zones: the spans against the standard library, names only from the list, the yearly rules of POSIX."""

from datetime import UTC, datetime
from itertools import pairwise
from random import Random

import pytest

from rota.core.posix_zone import rule_transitions
from rota.core.schedule_errors import ScheduleError
from rota.core.zones import END, check_timezone, load_zone, tz_version, zone_info, zone_names


def test_every_zone_agrees_with_the_standard_library_up_to_2399() -> None:
    random = Random("zones")
    for name in sorted(zone_names()):
        zone, reference = load_zone(name), zone_info(name)
        changes = zone.starts[1:]
        near = [change + step for change in random.sample(changes, min(25, len(changes))) for step in (-1, 0)]
        for instant in near + [random.randrange(END) for _ in range(25)]:
            expected = datetime.fromtimestamp(instant, reference).utcoffset()
            assert expected is not None
            assert zone.offset(instant) == expected.total_seconds(), (name, instant)


def test_neighbouring_spans_differ_and_cover_all_time() -> None:
    for name in ("Europe/Berlin", "Africa/Casablanca", "Australia/Lord_Howe", "UTC"):
        zone = load_zone(name)
        assert zone.starts == sorted(set(zone.starts))
        assert all(first != second for first, second in pairwise(zone.offsets))
        assert zone.ends[:-1] == zone.starts[1:]
    assert len(load_zone("UTC").starts) == 1


def test_a_local_time_stands_for_none_one_or_two_instants() -> None:
    zone = load_zone("Europe/Berlin")

    def local(*parts: int) -> int:
        return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[arg-type,misc]

    assert zone.resolve(local(2027, 1, 1, 12)) == ([local(2027, 1, 1, 11)], None)
    assert zone.resolve(local(2027, 3, 28, 2, 30)) == ([], local(2027, 3, 28, 1))
    assert zone.resolve(local(2027, 10, 31, 2, 30)) == ([local(2027, 10, 31, 0, 30), local(2027, 10, 31, 1, 30)], None)


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_names_of_the_list_are_accepted(name: str) -> None:
    assert check_timezone(name) == name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("europe/berlin", "did you mean Europe/Berlin?"),
        ("Europe/Brelin", "did you mean Europe/Berlin?"),
        ("Berlin", "did you mean Europe/Berlin?"),
        ("Mars/New_York", "did you mean America/New_York?"),
        ("utc", "did you mean UTC?"),
        ("Mars/Base", "names look like"),
        ("", "write UTC"),
        ("../../x", "names look like"),
        ("../tzdata/zones", "names look like"),
        ("/etc/passwd", "names look like"),
        ("Europe", "names look like"),
        ("Europe/Berlin\0", "did you mean Europe/Berlin?"),
        ("x" * 1_000_000, "names look like"),
    ],
    ids=lambda value: value[:20],
)
def test_other_names_are_refused_with_the_nearest(name: str, hint: str) -> None:
    for refuse in (check_timezone, load_zone, zone_info):
        with pytest.raises(ScheduleError) as caught:
            refuse(name)
        assert hint in str(caught.value.hint)
        assert caught.value.field == "timezone"
        assert len(str(caught.value)) < 100


def test_the_version_is_the_package_of_the_lock() -> None:
    assert tz_version()[:2] == "20"


def utc(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M}"


@pytest.mark.parametrize(
    ("rule", "spring", "autumn"),
    [
        ("CET-1CEST,M3.5.0,M10.5.0/3", ("2027-03-28 01:00", 7200), ("2027-10-31 01:00", 3600)),
        ("EST5EDT,M3.2.0,M11.1.0", ("2027-03-14 07:00", -14400), ("2027-11-07 06:00", -18000)),
        ("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", ("2027-10-02 15:30", 39600), ("2027-04-03 15:00", 37800)),
        ("IST-1GMT0,M10.5.0,M3.5.0/1", ("2027-10-31 01:00", 0), ("2027-03-28 01:00", 3600)),
        ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", ("2027-03-28 01:00", -3600), ("2027-10-31 01:00", -7200)),
        ("AAA3BBB,J60,J300", ("2027-03-01 05:00", -7200), ("2027-10-27 04:00", -10800)),
        ("AAA3BBB,59,299", ("2027-03-01 05:00", -7200), ("2027-10-27 04:00", -10800)),
    ],
)
def test_yearly_rules(rule: str, spring: tuple[str, int], autumn: tuple[str, int]) -> None:
    changes = [(utc(second), offset) for second, offset in rule_transitions(rule)]
    assert [change for change in changes if change[0].startswith("2027")] == sorted([spring, autumn])


def test_julian_days_never_count_the_29th_of_february() -> None:
    leap = [utc(second) for second, _ in rule_transitions("AAA0BBB,J60/0,J300") if utc(second).startswith("2028-0")]
    assert leap == ["2028-03-01 00:00"]


@pytest.mark.parametrize("rule", ["", "UTC0", "<+03>-3", "nonsense!"])
def test_fixed_zones_have_no_rule(rule: str) -> None:
    assert rule_transitions(rule) == []
