"""Ids: of the time they were made at, in order, and none twice."""

from __future__ import annotations

import re
import time

from gateway.ids import uuid7

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_an_id_is_a_uuid_of_version_7_and_of_now():
    before = time.time_ns() // 1_000_000
    made = uuid7()
    after = time.time_ns() // 1_000_000

    assert UUID7.fullmatch(made)
    assert before <= int(made.replace("-", "")[:12], 16) <= after


def test_ids_differ_and_those_of_one_process_stand_in_order():
    made = [uuid7() for _ in range(20_000)]

    assert len(set(made)) == len(made)
    assert all(UUID7.fullmatch(each) for each in made)
    # Beyond 4,096 in a millisecond the count begins anew behind another random half.
    stamps = [each[:13] for each in made]
    assert stamps == sorted(stamps)


def test_what_ids_of_two_milliseconds_share_is_their_time_alone():
    first = uuid7()
    time.sleep(0.002)
    second = uuid7()

    assert first < second
    assert first[19:] != second[19:]
