"""A store is chosen by its address, and each kind hears of what others change."""

from __future__ import annotations

import asyncio

import pytest

from gateway import StartError
from plugins.api_keys.described import NewKey
from plugins.api_keys.stores import opened as opened_store


@pytest.mark.parametrize("address", ["", "mysql://x", "postgres", "redis://x"])
def test_an_address_that_nobody_knows_says_what_is_wanted(address, tmp_path):
    with pytest.raises(StartError, match="postgresql://user@host/database"):
        opened_store(address, tmp_path)


@pytest.mark.parametrize("how", ["other", "own"])
def test_news_come_soon(opened, how):
    other = opened.another()

    async def story() -> float:
        await opened.store.news()  # the first one says to look
        waiting = asyncio.ensure_future(opened.store.news())
        await asyncio.sleep(0.01)
        started = opened.loop.time()
        if how == "other":
            await opened.desk.create_key(other, NewKey(name="a"))
        else:
            opened.store.poke()
        await waiting
        return opened.loop.time() - started

    assert opened.run(story()) < 1.0


def test_a_look_changes_nothing(opened):
    opened.run(opened.store.check())
    opened.do("create_key", NewKey(name="a"))
    opened.run(opened.store.check())


def test_a_closed_store_can_be_opened_again(opened):
    opened.do("create_key", NewKey(name="a", id="a"))
    opened.run(opened.store.close())
    opened.run(opened.store.close())
    opened.run(opened.store.open())
    opened.run(opened.store.open())
    assert opened.do("get_key", "a").status == 200


def test_a_fault_takes_back_what_was_written(opened):
    async def story() -> None:
        async with opened.store.changing(tell=True):
            await opened.store.fetch("INSERT INTO api_teams VALUES ('t', '{}', 1, 1)")
            raise KeyError

    with pytest.raises(KeyError):
        opened.run(story())
    assert not opened.run(opened.store.fetch("SELECT 1 FROM api_teams"))
