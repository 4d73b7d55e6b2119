"""Our own parsers, given everything: the committed corpus, and as many mutants of it as asked for.

A target states what has to hold for any bytes, beside that nothing unexpected is raised.
"""

from __future__ import annotations

import pytest

from tests.fuzz import documents, heads, settings, streams
from tests.fuzz.mutants import CORPUS, Target, corpus, mutants, tried
from tests.sizes import Sizes

TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        *(streams.sse, streams.dialects, streams.chunks, streams.proxied, streams.websocket),
        documents.splice,
        *(heads.routes, heads.head, heads.forwarded, heads.handshake),
        *(heads.credentials, heads.metadata),
        *(settings.config, settings.variables, settings.units, settings.key, settings.proxy),
    )
}
# A whole configuration costs a hundred times what a line does, so it gets a share.
SHARES = {"config": 20, "variables": 20}

in_turn = pytest.mark.parametrize("name", TARGETS)


@in_turn
def test_what_was_found_once_stays_right(name):
    for data in corpus(name).values():
        tried(TARGETS[name], data)


@in_turn
def test_mutants_are_refused_or_mean_what_they_say(name, sizes: Sizes):
    for data in mutants(name, sizes.fuzzed // SHARES.get(name, 1)):
        tried(TARGETS[name], data)


def test_the_corpus_is_small_and_each_folder_has_its_target():
    files = [path for path in CORPUS.rglob("*") if path.is_file()]

    assert {path.name for path in CORPUS.iterdir()} == TARGETS.keys()
    assert sum(path.stat().st_size for path in files) < 200_000
