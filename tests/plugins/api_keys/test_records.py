"""What another process has changed is found, and nothing else is read."""

from __future__ import annotations

import asyncio

from plugins.api_keys.described import NewKey, Rotation
from plugins.api_keys.fields import Team
from plugins.api_keys.records import add_uses, changes_since, get_key
from plugins.api_keys.stores import Store


def test_an_empty_store_says_everything_once(opened):
    changes = opened.run(changes_since(opened.store, -1))
    assert (changes.seq, changes.keys, changes.everything) == (0, {}, True)
    assert not opened.run(changes_since(opened.store, 0)).everything


def test_only_what_changed_comes(opened):
    opened.do("create_team", Team(name="t"))
    for name in ("a", "b", "c"):
        opened.do("create_key", NewKey(name=name, id=name))
    seq = opened.run(changes_since(opened.store, -1)).seq
    opened.do("update_key", "a", {"tags": ["x"]})
    opened.do("rotate_key", "a", Rotation())
    opened.do("delete_key", "b")
    opened.do("update_team", "t", {"tags": ["y"]})

    changes = opened.run(changes_since(opened.store, seq))
    assert (set(changes.keys), changes.gone_keys) == ({"a"}, ("b",))
    assert (set(changes.teams), changes.gone_teams) == ({"t"}, ())
    assert changes.keys["a"].document["tags"] == ["x"]
    assert not changes.everything


def test_a_store_that_counts_anew_is_read_whole(opened):
    opened.do("create_key", NewKey(name="a", id="a"))
    changes = opened.run(changes_since(opened.store, 99))
    assert (set(changes.keys), changes.everything) == ({"a"}, True)


def test_many_changes_are_read_as_everything(opened):
    opened.do("create_key", NewKey(name="a", id="a"))
    seq = opened.run(changes_since(opened.store, -1)).seq
    rows = "SELECT 1, 'w', 'update', 'key', 'x' || n, '{}' FROM n"
    opened.run(
        opened.store.fetch(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1001) "
            f"INSERT INTO api_changes (at_ms, who, what, kind, subject, details) {rows}"
        )
    )
    changes = opened.run(changes_since(opened.store, seq))
    assert (set(changes.keys), changes.everything) == ({"a"}, True)


def test_uses_add_up_and_are_no_change(opened):
    opened.do("create_key", NewKey(name="a", id="a"))
    seq = opened.run(changes_since(opened.store, -1)).seq

    async def use(count: int, used_ms: int) -> None:
        async with opened.store.changing(tell=False):
            await add_uses(opened.store, {"a": (count, used_ms), "gone": (1, 1)})

    opened.run(use(2, 50))
    opened.run(use(3, 40))  # of a worker that was slower to say so
    row = opened.run(get_key(opened.store, "a"))
    assert (row.uses, row.used_ms) == (5, 50)
    assert opened.run(changes_since(opened.store, seq)).seq == seq
    assert opened.run(opened.store.fetch("SELECT count(*) FROM api_uses"))[0][0] == 1


def test_changes_at_once_have_numbers_in_the_order_that_they_are_seen(opened):
    """A reader that has seen a number has seen all below it."""
    makers = [opened.another() for _ in range(4)]
    reader = opened.another()
    seen: set[str] = set()

    async def make(store: Store, number: int) -> None:
        for n in range(5):
            await opened.desk.create_key(store, NewKey(name="a", id=f"k{number}-{n}"))

    async def story() -> None:
        making = asyncio.gather(*(make(store, n) for n, store in enumerate(makers)))
        seq = 0
        while True:
            is_over = making.done()
            changes = await changes_since(reader, seq)
            seen.update(changes.keys)
            seq = changes.seq
            if is_over:
                break
            await asyncio.sleep(0)
        await making

    opened.run(story())
    assert seen == {f"k{number}-{n}" for number in range(4) for n in range(5)}


def test_two_who_ask_with_one_idempotency_key_at_once_get_one_key(opened):
    stores = [opened.another() for _ in range(3)]

    async def story() -> list[int]:
        wanted = NewKey(name="a")
        makings = (opened.desk.create_key(store, wanted, "once") for store in stores)
        return [done.status for done in await asyncio.gather(*makings)]

    assert sorted(opened.run(story())) == [200, 200, 201]
