"""A store of keys of either kind, and a loop to use it in from a test that reads top to bottom."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from plugins.api_keys.desk import Desk, Done
from plugins.api_keys.stores import Store, opened

KINDS = ("sqlite", "postgresql")


class Opened:
    """address: of the store. desk: for one operator."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        self.all: list[Store] = []
        self.store = self.another()
        self.desk = Desk("weir-", "tests")

    def another(self) -> Store:
        store = opened(self.address, self.folder)
        self.all.append(store)
        self.run(store.open())
        return store

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def do(self, name: str, *arguments: Any) -> Done:
        done: Done = self.run(getattr(self.desk, name)(self.store, *arguments))
        return done

    def close(self) -> None:
        for store in self.all:
            self.run(store.close())
        self.loop.close()
