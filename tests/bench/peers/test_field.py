from __future__ import annotations

import pytest

from bench.peers.field import ALL, FIELD, KINDS, install, listed, named
from bench.peers.install import InstallError
from bench.peers.kinds import Kind
from bench.peers.nginx import start


def test_a_name_that_nobody_has_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"no peer nobody; there are envoy, .*litellm, all"):
        named(["envoy", "nobody"])


def test_all_is_each_once_and_a_name_twice_is_one_peer():
    assert [peer.name for peer in named([ALL, "envoy"])] == list(FIELD)
    assert [peer.name for peer in named(["litellm", "envoy", "litellm"])] == ["litellm", "envoy"]
    assert named([]) == []


def test_one_that_cannot_be_installed_is_named_and_the_next_is_installed(capsys):
    done: list[str] = []

    def fail() -> None:
        raise InstallError("the shop is shut")

    kinds = [
        Kind("first", start, install=fail),
        Kind("second", start, version=lambda: "second 2", install=lambda: done.append("second")),
        Kind("third", start, version=lambda: "third 3"),
    ]
    assert install(kinds) == 1
    assert done == ["second"]
    said = capsys.readouterr().err.splitlines()
    assert said == ["first: left out, the shop is shut", "second: second 2", "third: third 3"]


def test_the_list_names_each_with_its_version_and_why_it_cannot_run():
    head, *lines = listed()
    assert len(head) == 3
    assert [line[0] for line in lines] == list(FIELD)
    for name, version, here in lines:
        assert version or name == "haproxy"
        assert here == (KINDS[name].missing() or "yes")
