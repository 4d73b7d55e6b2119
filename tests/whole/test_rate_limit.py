"""Limits hold: so many calls and not one more, by one process or two, with a store or without."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import anthropic
import httpx
import openai
import orjson
import pytest

from gateway.testing import (
    RunningGateway,
    ScriptedUpstream,
    Visit,
    chunk,
    head,
    running_gateway,
    sized,
)
from plugins.api_keys.format import digest_of, make
from tests.gateway.answers import CHAT, chat_chunk, sse
from tests.redis_server import RedisServer
from tests.sizes import Sizes

CALLS = 200
LIMIT = 50
SHAPES = ("bucket", "fixed", "sliding")
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1764000000,
    "model": "m",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "a"}}
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}
BODY = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}


def rules(limit: str = f"{LIMIT}/hour") -> list[dict[str, Any]]:
    """One of each shape; a request's metadata says which of them it is under."""
    return [
        {"name": shape, "scope": f"metadata.{shape}", "limit": limit, "shape": shape}
        for shape in SHAPES
    ]


def config(upstream: ScriptedUpstream, limits: list[dict[str, Any]], **keys: Any) -> dict[str, Any]:
    return {
        "providers": {name: upstream.provider() for name in ("openai", "anthropic")},
        "enabled": ["metadata", "usage", "rate_limit"],
        "plugins": {"rate_limit": {"rules": limits, **keys}},
    }


class Callers:
    """Callers of several gateways that ask at once, each on a connection of its own."""

    def __init__(self, *ports: int) -> None:
        self._ports = ports
        self._open: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *fault: object) -> None:
        for _, writer in self._open:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def send(self, count: int, metadata: dict[str, str]) -> None:
        while len(self._open) < count:
            port = self._ports[len(self._open) % len(self._ports)]
            self._open.append(await asyncio.open_connection("127.0.0.1", port))
        body = orjson.dumps(BODY)
        text = b"POST /openai/%b HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer k\r\n" % CHAT
        text += b"Content-Type: application/json\r\nweir-metadata: %b\r\n" % orjson.dumps(metadata)
        text += b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        for _, writer in self._open[:count]:
            writer.write(text)

    async def ask(self, count: int, metadata: dict[str, str]) -> list[int]:
        """Ask so often; give the statuses."""
        await self.send(count, metadata)
        return await asyncio.gather(*(_answer(reader) for reader, _ in self._open[:count]))

    def go(self) -> None:
        """All leave."""
        for _, writer in self._open:
            writer.transport.abort()
        self._open.clear()


async def _answer(reader: asyncio.StreamReader) -> int:
    found = await reader.readuntil(b"\r\n\r\n")
    fields = found.lower()
    body = await reader.readexactly(
        int(fields.partition(b"content-length: ")[2].partition(b"\r")[0])
    )
    status = int(found.split(b" ", 2)[1])
    if status == 429:
        assert orjson.loads(body)["error"]["code"] == "rate_limit_exceeded"
        assert b"retry-after-ms: " in fields
    return status


def gives(body: Any) -> Callable[[Visit], None]:
    whole = sized(orjson.dumps(body), (b"Content-Type", b"application/json"))

    def script(visit: Visit) -> None:
        visit.read()
        visit.send(whole)

    return script


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> str:
    """Give where the counters are."""
    if request.param == "memory":
        return "memory"
    found: RedisServer = request.getfixturevalue("server")
    return found.url


def test_of_many_calls_at_once_exactly_as_many_pass_as_the_limit_has(store: str, sizes: Sizes):
    """By one gateway with its own memory, and by two of one Redis."""
    with ScriptedUpstream(gives(ANSWER), keeps_bodies=False) as upstream, ExitStack() as stack:
        count = 1 if store == "memory" else 2
        # Exactly, however busy the machine is: a store that is late is another story.
        given = config(upstream, rules(), store=store, store_timeout="5s")
        gateways = [stack.enter_context(running_gateway(given)) for _ in range(count)]

        async def story() -> None:
            async with Callers(*(gateway.port for gateway in gateways)) as callers:
                for number in range(sizes.limit_rounds):
                    for shape in SHAPES:
                        statuses = await callers.ask(CALLS, {shape: f"r{number}"})
                        assert statuses.count(200) == LIMIT
                        assert statuses.count(429) == CALLS - LIMIT
                        assert len(upstream.requests) == LIMIT
                        upstream.forget()

        asyncio.run(story())
        assert not any(gateway.crashes for gateway in gateways)


def test_abandoned_exchanges_give_back_all_that_they_held(store: str, sizes: Sizes):
    """Some leave before the answer's head, some in the middle of a stream; nothing stays held."""
    event = chunk(sse(chat_chunk({"role": "assistant", "content": "a"})))

    def holds(visit: Visit) -> None:
        visit.read()
        if len(upstream.requests) % 2:
            fields = ((b"Content-Type", b"text/event-stream"), (b"Transfer-Encoding", b"chunked"))
            visit.send(head(200, *fields) + event)
        visit.wait_gone()

    limits = [
        {"name": "slots", "scope": "gateway", "limit": f"{LIMIT} concurrent"},
        {"name": "tokens", "scope": "metadata.round", "limit": "6k tokens/day"},
    ]
    with ScriptedUpstream(holds, keeps_bodies=False) as upstream:
        given = config(upstream, limits, store=store, store_timeout="5s")
        with running_gateway(given) as gateway:

            async def story() -> None:
                for number in range(sizes.abandoned // LIMIT):
                    async with Callers(gateway.port) as callers:
                        metadata = {"round": f"r{number // 2}"}
                        await callers.send(LIMIT, metadata)
                        await asyncio.to_thread(upstream.wait_for_requests, LIMIT)
                        async with Callers(gateway.port) as others:
                            assert await others.ask(3, metadata) == [429] * 3
                        callers.go()
                        upstream.forget()
                        await until_free(gateway, metadata)

            async def until_free(gateway: RunningGateway, metadata: dict[str, str]) -> None:
                upstream.script = gives(ANSWER)
                patient_until = time.monotonic() + 10
                async with Callers(gateway.port) as callers:
                    while (await callers.ask(LIMIT, metadata)).count(200) < LIMIT:
                        assert time.monotonic() < patient_until
                upstream.script = holds
                upstream.forget()

            asyncio.run(story())
            assert not gateway.crashes


# -- a store that is away --------------------------------------------------------------------------


class Load:
    """One caller after the other, each timed."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.url = f"http://127.0.0.1:{gateway.port}/openai/{CHAT.decode()}"
        self.live = f"{gateway.admin_url}/livez"
        self.client = httpx.Client(headers={"authorization": "Bearer k"}, timeout=10)
        self.degraded = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def ask(self) -> float:
        """Ask once; give the seconds that took."""
        began = time.perf_counter()
        answer = self.client.post(self.url, json=BODY)
        took = time.perf_counter() - began
        assert answer.status_code == 200, answer.text
        self.degraded = answer.headers.get("weir-ratelimit-degraded") == "true"
        return took

    def ask_for(self, seconds: float) -> list[float]:
        until = time.monotonic() + seconds
        found = []
        while time.monotonic() < until:
            found.append(self.ask())
            time.sleep(0.005)
        assert self.client.get(self.live).status_code == 200
        return sorted(found)


def p99_ms(waits: list[float]) -> float:
    return waits[int(len(waits) * 0.99)] * 1000


@pytest.mark.parametrize("how", ["frozen", "dead"])
def test_a_store_that_is_away_costs_a_moment_and_nobody_is_refused_for_it(
    server: RedisServer, sizes: Sizes, how: str, capsys: pytest.CaptureFixture[str]
):
    limits = [{"name": "many", "scope": "gateway", "limit": "10M/hour"}]
    with ScriptedUpstream(gives(ANSWER), keeps_bodies=False) as upstream:
        with (
            running_gateway(config(upstream, limits, store=server.url)) as gateway,
            Load(gateway) as load,
        ):
            usual = load.ask_for(sizes.store_lost_s)
            assert not load.degraded
            server.freeze() if how == "frozen" else server.kill()
            first = load.ask_for(1)
            assert load.degraded
            later = load.ask_for(sizes.store_lost_s)
            server.thaw() if how == "frozen" else server.start()
            back = time.monotonic()
            while load.degraded:
                load.ask()
                assert time.monotonic() - back < sizes.store_back_s
            back_s = time.monotonic() - back
            again = load.ask_for(0.2)
            assert not load.degraded
            added = [p99_ms(waits) - p99_ms(usual) for waits in (first, later, again)]
            with capsys.disabled():
                print(
                    f"\nRedis {how}: p99 {p99_ms(usual):.1f} ms, {added[0]:+.1f} in the first "
                    f"second, {added[1]:+.1f} after it; back after {back_s:.2f} s"
                )
            assert added[0] < sizes.lost_first_ms
            assert added[1] < sizes.lost_later_ms
            assert not gateway.crashes


def test_who_would_rather_refuse_does(server: RedisServer):
    limits = [{"name": "many", "scope": "gateway", "limit": "10M/hour"}]
    with ScriptedUpstream(gives(ANSWER)) as upstream:
        given = config(upstream, limits, store=server.url, on_store_lost="refuse")
        with running_gateway(given) as gateway, Load(gateway) as load:
            load.ask()
            server.kill()
            gateway.wait_for_log("store_lost")
            answer = load.client.post(load.url, json=BODY)
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "rate_limit_unavailable"
            assert answer.headers["retry-after"] == "1"


# -- official SDKs ---------------------------------------------------------------------------------


def test_official_sdks_raise_what_they_have_for_it_and_come_again_in_time():
    """They wait as long as they are told, not as long as they would by themselves."""
    limits = [{"name": "few", "scope": "gateway", "limit": "1/s"}]
    with ScriptedUpstream(gives(ANSWER)) as upstream:
        with running_gateway(config(upstream, limits)) as gateway:
            url = f"http://127.0.0.1:{gateway.port}"
            hi: Any = BODY["messages"]
            gpt = openai.OpenAI(base_url=f"{url}/openai/v1", api_key="k", max_retries=1)
            claude = anthropic.Anthropic(base_url=f"{url}/anthropic", api_key="k", max_retries=0)
            with gpt, claude:
                gpt.chat.completions.create(model="m", messages=hi)
                with pytest.raises(openai.RateLimitError) as caught:
                    gpt.with_options(max_retries=0).chat.completions.create(model="m", messages=hi)
                assert caught.value.code == "rate_limit_exceeded"
                with pytest.raises(anthropic.RateLimitError) as told:
                    claude.messages.create(model="m", max_tokens=1, messages=hi)
                fields = told.value.response.headers
                assert fields["anthropic-ratelimit-requests-limit"] == "1"
                assert 0 < int(fields["retry-after-ms"]) <= 1000
                gpt.chat.completions.create(model="m", messages=hi)
            assert len(upstream.requests) == 2


# -- the README ------------------------------------------------------------------------------------

KEY = make()
KEYS = {
    "store": "none",
    "keys": [{"name": "a", "hash": digest_of(KEY.encode()).hex(), "team": "t"}],
    "teams": [{"name": "t"}],
}
FLAGS = re.MULTILINE | re.DOTALL


def blocks() -> list[dict[str, Any]]:
    """Give the tables that the README's section shows."""
    text = (Path(__file__).parents[2] / "README.md").read_text()
    section = text.partition("\n### Rate limits\n")[2].partition("\n### ")[0]
    return [tomllib.loads(each) for each in re.findall(r"^```toml\n(.*?)^```$", section, FLAGS)]


def test_the_readmes_rules_hold():
    (table, _) = blocks()
    with ScriptedUpstream(gives(ANSWER)) as upstream:
        given = config(upstream, table["plugins"]["rate_limit"].pop("rules"))
        given["plugins"]["rate_limit"] |= table["plugins"]["rate_limit"]
        given["plugins"]["api_keys"] = KEYS
        given["enabled"] = ["metadata", "api_keys", "usage", "rate_limit"]
        with running_gateway(given) as gateway:
            url = f"http://127.0.0.1:{gateway.port}/openai/{CHAT.decode()}"
            with httpx.Client(headers={"authorization": f"Bearer {KEY}"}) as client:
                answers = [client.post(url, json=BODY) for _ in range(51)]
    assert [answer.status_code for answer in answers] == [200] * 50 + [429]
    assert answers[0].headers["weir-ratelimit-remaining-requests"] == "49"
    assert answers[0].headers["weir-ratelimit-limit-tokens"] == "100000"
    assert answers[50].headers["weir-ratelimit-rule"] == "per-key"


def test_the_readmes_workers_share_a_limit(server: RedisServer):
    (_, table) = blocks()
    table["plugins"]["rate_limit"]["store"] = server.url
    with ScriptedUpstream(gives(ANSWER)) as upstream:
        limits = [{"name": "all", "scope": "gateway", "limit": "6/hour"}]
        given = config(upstream, limits, **table["plugins"]["rate_limit"], store_timeout="5s")
        with running_gateway(given | {"server": table["server"]}) as gateway:
            url = f"http://127.0.0.1:{gateway.port}/openai/{CHAT.decode()}"
            fields = {"authorization": "Bearer k"}
            statuses = [httpx.post(url, json=BODY, headers=fields).status_code for _ in range(12)]
    assert statuses == [200] * 6 + [429] * 6
