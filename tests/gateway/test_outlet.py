"""Who stands in for a caller: nobody who reads, and a plugin that wants the whole answer."""

from __future__ import annotations

from gateway import Head, Headers
from gateway.outlet import Collector, Null


def test_null_swallows_up_to_its_bound_and_then_says_so():
    over: list[str] = []
    null = Null(10, lambda: over.append("over"))
    null.write(b"x" * 6)
    null.writelines([b"x" * 2, b"x" * 2])
    assert over == []
    null.write(b"x")
    assert over == ["over"]


def test_null_is_never_full_and_keeps_no_connection():
    null = Null(1, lambda: None)
    null.done(keep=True)
    null.cut(reset_too=True)
    assert (null.is_full, null.may_keep) == (False, False)


def test_a_collector_keeps_the_head_and_the_body():
    collector = Collector(10)
    collector.head = Head(200, b"OK", Headers())
    collector.write(b"ab")
    collector.writelines([b"cd", b"", b"ef"])
    collector.done(keep=True)
    assert (collector.body, collector.head.status) == (b"abcdef", 200)
    assert (collector.is_cut, collector.is_too_large, collector.is_full) == (False, False, False)


def test_a_collector_has_a_bound():
    collector = Collector(4)
    collector.write(b"1234")
    assert not collector.is_too_large
    collector.write(b"5")
    assert (collector.is_too_large, collector.body) == (True, b"")
    collector.write(b"6")
    assert collector.body == b""


def test_a_collector_remembers_a_cut():
    collector = Collector(4)
    collector.cut(reset_too=False)
    assert collector.is_cut
