"""Budgets hold: so many calls and not one more, and streams that end where the money does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any, Self

import anthropic
import httpx
import openai
import orjson
import pytest
from google import genai

from gateway.testing import (
    BrokenOff,
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    Visit,
    chunk,
    head,
    running_gateway,
    sized,
)
from tests.gateway.answers import CHAT, chat_chunk, claude_events, gemini_chunk, response, sse
from tests.gateway.frames import ASKING, CLOSE, MASK, TEXT, bye, frame, read_frame, switch
from tests.sizes import Sizes

CALLS = 200
BUDGET = 50
ENABLED = ["metadata", "usage", "cost", "budget"]
# A dollar for each token of output, nothing for input.
PRICES = {"bundled": False, "models": [{"model": "*", "input": 0, "output": 1_000_000}]}
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
LIMITED = (429, 402)


def rule(**keys: Any) -> dict[str, Any]:
    return {
        "name": "round",
        "scope": "metadata.round",
        "limit": f"{BUDGET} USD/year",
        "alerts": [],
        **keys,
    }


def config(upstream: ScriptedUpstream, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    names = ("openai", "anthropic", "google-ai-studio", "ollama")
    return {
        "providers": {name: upstream.provider() for name in names},
        "enabled": ENABLED,
        **more,
        "plugins": {"cost": PRICES, "budget": {"rules": list(rules)}},
    }


class Callers:
    """Callers that ask at once, each on a connection of its own."""

    def __init__(self, port: int, gateway: str = "default") -> None:
        self._port = port
        self._gateway = gateway.encode()
        self._open: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._all: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for writer in self._all:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def ask(self, count: int, name: str, *, leave: bool = False) -> list[int]:
        """Ask so often; give the statuses. leave: without waiting for an answer."""
        while len(self._open) < count:
            self._open.append(await asyncio.open_connection("127.0.0.1", self._port))
            self._all.append(self._open[-1][1])
        some = [self._open.pop() for _ in range(count)]
        body = orjson.dumps(BODY)
        text = b"POST /openai/%b HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer k\r\n" % CHAT
        text += b'Content-Type: application/json\r\nweir-metadata: {"round": "%b"}\r\n' % (
            name.encode()
        )
        text += b"weir-gateway: %b\r\nContent-Length: " % self._gateway
        text += b"%d\r\n\r\n%b" % (len(body), body)
        for _, writer in some:
            writer.write(text)
        if leave:
            self._open += some
            return []
        statuses = await asyncio.gather(*(self._answer(reader) for reader, _ in some))
        self._open += some
        return statuses

    def go(self) -> None:
        """All leave."""
        for _, writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _answer(self, reader: asyncio.StreamReader) -> int:
        found = await reader.readuntil(b"\r\n\r\n")
        fields = found.lower()
        size = int(fields.partition(b"content-length: ")[2].partition(b"\r")[0])
        body = await reader.readexactly(size)
        status = int(found.split(b" ", 2)[1])
        if status in LIMITED:
            error = orjson.loads(body)["error"]
            assert error["code"] == "budget_exceeded"
            assert error["message"].startswith("The budget round (metadata.round ")
            assert b"weir-budget-remaining: " in fields
            assert b"retry-after: " in fields
        return status


def gives(body: Any) -> Callable[[Visit], None]:
    whole = sized(orjson.dumps(body), (b"Content-Type", b"application/json"))

    def script(visit: Visit) -> None:
        visit.read()
        visit.send(whole)

    return script


def budgets(gateway: RunningGateway) -> dict[tuple[str, ...], dict[str, Any]]:
    """What the admin API says, by rule and subject."""
    fields = {"Authorization": f"Bearer {gateway.admin_token}"}
    found = httpx.get(f"{gateway.admin_url}/api/budgets", headers=fields).json()
    return {
        (each["name"], *subject["subject"].values()): subject
        for each in found["rules"]
        for subject in each["subjects"]
    }


def settled(gateway: RunningGateway, *key: str) -> int:
    """What was spent once nothing is reserved any more; whole dollars."""
    patient_until = time.monotonic() + 10
    while (found := budgets(gateway).get(key)) is not None and found["reserved"]:
        assert time.monotonic() < patient_until
        time.sleep(0.02)
    return 0 if found is None else found["spent"] // 10**9


def test_of_many_calls_at_once_exactly_as_many_pass_as_the_budget_has(sizes: Sizes):
    with ScriptedUpstream(gives(ANSWER), keeps_bodies=False) as upstream:
        with running_gateway(config(upstream, rule(), rule(name="soft", hard=False))) as gateway:

            async def story() -> None:
                async with Callers(gateway.port) as callers:
                    for number in range(sizes.budget_rounds):
                        statuses = await callers.ask(CALLS, f"r{number}")
                        assert statuses.count(200) == BUDGET
                        assert statuses.count(429) == CALLS - BUDGET
                        assert len(upstream.requests) == BUDGET
                        upstream.forget()

            asyncio.run(story())
            assert settled(gateway, "round", "r0") == BUDGET
            assert not gateway.crashes


def test_crashed_and_abandoned_calls_give_back_what_they_held(sizes: Sizes):
    """Each round: some are refused by the provider, some crash, some callers leave."""

    def fails(visit: Visit) -> None:
        visit.read()
        place = len(upstream.requests) % 3
        if place == 0:
            visit.send(sized(b'{"error": {"message": "no"}}', status=500))
        elif place == 1:
            visit.reset()
        else:
            visit.send(head(200, (b"Content-Type", b"application/json")))
            visit.reset()

    def holds(visit: Visit) -> None:
        visit.read()
        visit.wait_gone()

    with ScriptedUpstream(fails, keeps_bodies=False) as upstream:
        with running_gateway(config(upstream, rule())) as gateway:

            async def story(number: int) -> None:
                name = f"r{number}"
                async with Callers(gateway.port) as callers:
                    upstream.script = fails
                    crashed = []
                    for _ in range(12):  # one after the other: a cut body has no length to read
                        async with Callers(gateway.port) as one:
                            try:
                                crashed += await one.ask(1, name)
                            except (asyncio.IncompleteReadError, ValueError):
                                crashed.append(0)
                    assert set(crashed) <= {0, 500, 502}
                    upstream.script = holds
                    upstream.forget()
                    await callers.ask(BUDGET, name, leave=True)
                    await asyncio.to_thread(upstream.wait_for_requests, BUDGET)
                    assert (await callers_of(gateway, name)) == [429] * 5
                    callers.go()
                    assert await asyncio.to_thread(settled, gateway, "round", name) == 0
                    upstream.script = gives(ANSWER)
                    upstream.forget()
                    statuses = await callers.ask(CALLS, name)
                    assert statuses.count(200) == BUDGET == len(upstream.requests)

            for number in range(max(sizes.budget_rounds // 10, 1)):
                asyncio.run(story(number))
            assert not gateway.crashes


async def callers_of(gateway: RunningGateway, name: str) -> list[int]:
    async with Callers(gateway.port) as callers:
        return await callers.ask(5, name)


# -- streams ---------------------------------------------------------------------------------------

LIMIT = 300
NUMBERS = itertools.count()
WORDS = [f" word{number:03d}" for number in range(400)]


def endless(
    documents: Iterable[bytes], pause_s: float = 0.0, kind: bytes = b"text/event-stream"
) -> Callable[[Visit], None]:
    pieces = list(documents)

    def script(visit: Visit) -> None:
        visit.read()
        fields = ((b"Content-Type", kind), (b"Transfer-Encoding", b"chunked"))
        visit.send(head(200, *fields))
        for piece in pieces:
            visit.pause(pause_s)
            visit.send(chunk(piece))
        visit.send(chunk(b""))

    return script


@pytest.fixture(scope="module")
def stopping() -> Iterator[tuple[RunningGateway, ScriptedUpstream]]:
    with ScriptedUpstream(lambda visit: None) as upstream:
        stops = rule(
            limit=f"{LIMIT} tokens/year", stop_in_flight=True, output_default=10, name="stop"
        )
        with running_gateway(config(upstream, stops)) as gateway:
            yield gateway, upstream
            assert not gateway.crashes


def chat_events() -> list[bytes]:
    chunks = [chat_chunk({"role": "assistant", "content": ""})]
    chunks += [chat_chunk({"content": word}) for word in WORDS]
    return [sse(each) for each in [*chunks, chat_chunk({}, "stop")]] + [b"data: [DONE]\n\n"]


def claude() -> list[bytes]:
    return [sse(each, named=True) for each in claude_events(WORDS)]


def responses() -> list[bytes]:
    name = f"resp_{next(NUMBERS)}"  # each id is counted once
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress"}
    part = {"type": "output_text", "text": "", "annotations": []}
    text = {"type": "output_text", "text": "".join(WORDS), "annotations": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response("in_progress", id=name, output=[])},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "part": part},
    ]
    events += [
        {"type": "response.output_text.delta", **place, "delta": word, "logprobs": []}
        for word in WORDS
    ]
    done = {**item, "status": "completed", "content": [text]}
    events.append({"type": "response.output_item.done", "output_index": 0, "item": done})
    events.append({"type": "response.completed", "response": response(id=name)})
    return [sse({**each, "sequence_number": n}, named=True) for n, each in enumerate(events)]


def ask_chat(url: str, fields: dict[str, str]) -> tuple[str, str | None]:
    client = openai.OpenAI(base_url=f"{url}/openai/v1", api_key="k", default_headers=fields)
    said, reason = "", None
    with client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
    ) as stream:
        for each in stream:
            for choice in each.choices:
                said += choice.delta.content or ""
                reason = choice.finish_reason or reason
    return said, reason


def ask_responses(url: str, fields: dict[str, str]) -> tuple[str, str | None]:
    client = openai.OpenAI(base_url=f"{url}/openai/v1", api_key="k", default_headers=fields)
    said, reason = "", None
    with client.responses.stream(model="m", input="Hi") as stream:
        for each in stream:
            if each.type == "response.output_text.delta":
                said += each.delta
            elif each.type == "response.incomplete":
                assert each.response.status == "incomplete"
                assert each.response.incomplete_details is not None
                reason = each.response.incomplete_details.reason
    return said, reason


def ask_claude(url: str, fields: dict[str, str]) -> tuple[str, str | None]:
    client = anthropic.Anthropic(base_url=f"{url}/anthropic", api_key="k", default_headers=fields)
    # What the provider does not heed: the ceiling is there all the same.
    with client.messages.stream(
        model="m", max_tokens=10, messages=[{"role": "user", "content": "Hi"}]
    ) as stream:
        said = "".join(stream.text_stream)
        last = stream.get_final_message()
    assert last.content[0].type == "text"
    assert last.content[0].text == said
    return said, last.stop_reason


def ask_gemini(url: str, fields: dict[str, str]) -> tuple[str, str | None]:
    options = genai.types.HttpOptions(base_url=f"{url}/google-ai-studio", headers=fields)
    client = genai.Client(api_key="k", http_options=options)
    said, reason = "", None
    for each in client.models.generate_content_stream(model="m", contents="Hi"):
        said += each.text or ""
        found = each.candidates[0].finish_reason if each.candidates else None
        reason = found.name if found is not None else reason
    return said, reason


STOPS = {
    "openai": (ask_chat, chat_events, "length"),
    "responses": (ask_responses, responses, "max_output_tokens"),
    "anthropic": (ask_claude, claude, "max_tokens"),
    "gemini": (
        ask_gemini,
        lambda: [sse(gemini_chunk(word, 1)) for word in WORDS] + [sse(gemini_chunk("", 1, "STOP"))],
        "MAX_TOKENS",
    ),
}


@pytest.mark.parametrize("together", [1, 50], ids=["lone events", "slices of many"])
@pytest.mark.parametrize("name", STOPS)
def test_a_stream_ends_at_the_ceiling_as_its_sdk_expects(name, together, stopping):
    ask, make, wanted = STOPS[name]
    gateway, upstream = stopping
    events = make()
    pieces = [b"".join(events[at : at + together]) for at in range(0, len(events), together)]
    upstream.script = endless(pieces)
    upstream.forget()
    subject = f"{name}-{together}"

    said, reason = ask(gateway.url, {"weir-metadata": f'{{"round": "{subject}"}}'})

    assert reason == wanted
    assert "".join(WORDS).startswith(said)
    read = input_of(upstream)
    seen = -(-len(said) // 4)
    assert LIMIT - read - 2 <= seen <= LIMIT - read  # a word is two tokens
    # What the provider had written by then is counted, seen or not.
    found = budgets(gateway)["stop", subject]
    assert found["reserved"] == 0
    assert found["spent"] >= read + seen


def input_of(upstream: ScriptedUpstream) -> int:
    """What is guessed of a request; `usage` has put a question into it on its way."""
    body = upstream.requests[0].body.replace(b',"stream_options":{"include_usage":true}', b"")
    return len(body) // 4 + 1


def together(count: int, script: Callable[[Visit], None]) -> Callable[[Visit], None]:
    """Answer so many requests at once: none is over before the last one has come."""
    barrier = threading.Barrier(count)

    def meeting(visit: Visit) -> None:
        barrier.wait(30)
        script(visit)

    return meeting


def test_several_streams_share_what_is_left(stopping):
    gateway, upstream = stopping
    upstream.script = together(4, endless(chat_events(), pause_s=0.001))
    upstream.forget()
    fields = {"weir-metadata": '{"round": "shared"}'}

    async def story() -> list[tuple[str, str | None]]:
        return await asyncio.gather(
            *(asyncio.to_thread(ask_chat, gateway.url, fields) for _ in range(4))
        )

    said = asyncio.run(story())
    assert {reason for _, reason in said} == {"length"}
    read = 4 * input_of(upstream)
    assert sum(-(-len(text) // 4) for text, _ in said) <= LIMIT - read
    # What the provider had written of one that ended first leaves the others less.
    assert budgets(gateway)["stop", "shared"]["spent"] >= LIMIT - 8


def ollama_lines(is_chat: bool) -> list[bytes]:
    def line(word: str, **more: Any) -> bytes:
        body = (
            {"message": {"role": "assistant", "content": word}} if is_chat else {"response": word}
        )
        facts = {"model": "m", "created_at": "2026-11-28T15:00:00Z"}
        return orjson.dumps({**facts, **body, "done": False, **more}) + b"\n"

    last = line("", done=True, done_reason="stop", prompt_eval_count=9, eval_count=len(WORDS))
    return [*map(line, WORDS), last]


@pytest.mark.parametrize("together", [1, 50], ids=["lone lines", "slices of many"])
@pytest.mark.parametrize("path", ["api/chat", "api/generate"])
def test_ollamas_lines_end_at_the_ceiling(path, together, stopping):
    gateway, upstream = stopping
    lines = ollama_lines(path == "api/chat")
    pieces = [b"".join(lines[at : at + together]) for at in range(0, len(lines), together)]
    upstream.script = endless(pieces, kind=b"application/x-ndjson")
    upstream.forget()
    fields = {"weir-metadata": f'{{"round": "{path}-{together}"}}'}

    answer = httpx.post(
        f"{gateway.url}/ollama/{path}", json={"model": "m", "prompt": "Hi"}, headers=fields
    )

    *words, last = (orjson.loads(line) for line in answer.text.splitlines())
    said = "".join(w["message"]["content"] if "message" in w else w["response"] for w in words)
    assert "".join(WORDS).startswith(said)
    seen = -(-len(said) // 4)
    assert LIMIT - input_of(upstream) - 2 <= seen <= LIMIT - input_of(upstream)
    assert (last["done"], last["done_reason"], last["eval_count"]) == (True, "length", seen + 2)
    assert budgets(gateway)["stop", f"{path}-{together}"]["reserved"] == 0


# -- sessions --------------------------------------------------------------------------------------

SPOKEN = {"output_tokens": 10, "input_tokens": 3, "total_tokens": 13}
DONE = orjson.dumps({"type": "response.done", "response": {"id": "r", "usage": SPOKEN}})


def talks(visit: Visit) -> None:
    """Answers each message of its caller with ten tokens."""
    visit.send(switch(visit))
    wire = visit.connection.wire
    with contextlib.suppress(OSError, BrokenOff):
        while read_frame(wire)[0] == TEXT:
            visit.send(frame(TEXT, DONE))
        visit.send(bye())
    visit.wait_gone()


def talk(gateway: RunningGateway, name: str, at_most: int) -> tuple[int, int | None]:
    """Ask so often, or until it is over; how many answers came, and the code of the end."""
    fields = (b"weir-metadata", b'{"round": "%b"}' % name.encode())
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", b"/openai/v1/realtime?model=m", *ASKING, fields)
        if not caller.wire.head().startswith(b"HTTP/1.1 101 "):
            return 0, None
        for number in range(at_most):
            caller.send(frame(TEXT, b"Hi", mask=MASK))
            kind, payload = read_frame(caller.wire)
            if b'"budget_exceeded"' in payload:  # said before it is closed
                kind, payload = read_frame(caller.wire)
            if kind == CLOSE:
                return number, int.from_bytes(payload[:2], "big")
        caller.send(bye(mask=MASK))
        return at_most, None


def test_a_session_goes_on_for_as_long_as_there_is_room_for_an_answer():
    """Of 50 dollars five answers of ten. What the model is stands in the address alone."""
    with ScriptedUpstream(talks) as upstream:
        with running_gateway(config(upstream, rule(output_default=10))) as gateway:
            assert talk(gateway, "alone", 9) == (5, 1008)
            assert settled(gateway, "round", "alone") == BUDGET
            assert talk(gateway, "alone", 9) == (0, None)
            assert talk(gateway, "leaves", 2) == (2, None)
            assert settled(gateway, "round", "leaves") == 20

            async def story() -> list[tuple[int, int | None]]:
                some = (asyncio.to_thread(talk, gateway, "many", 9) for _ in range(4))
                return await asyncio.gather(*some)

            answers = sum(count for count, _ in asyncio.run(story()))
            assert settled(gateway, "round", "many") == 10 * answers
            assert 10 * answers <= BUDGET
            assert not gateway.crashes


# -- starts ----------------------------------------------------------------------------------------


def test_counters_are_what_the_ledger_says_after_a_kill(tmp_path):
    rules = (
        rule(),
        rule(name="model", scope=["provider", "model"], limit="60 USD/month", zone="Asia/Kolkata"),
        rule(name="rolling", limit="1k USD/day", window="rolling"),
        rule(name="tokens", limit="100k tokens/hour", scope="gateway"),
    )
    with ScriptedUpstream(gives(ANSWER)) as upstream:
        tables = config(upstream, *rules, state_dir=str(tmp_path / "state"))
        tables["enabled"] = [*ENABLED, "ledger"]

        with running_gateway(tables) as gateway:
            assert asyncio.run(asked(gateway, 20)) == [200] * 20
            gateway.kill()
        with running_gateway(tables) as gateway:
            found = {key: each["spent"] for key, each in told(gateway, tmp_path).items()}
            assert found == {
                ("round", "a"): 20 * 10**9,
                ("model", "openai", "m"): 20 * 10**9,
                ("rolling", "a"): 20 * 10**9,
                ("tokens", "default"): 200,
            }
            statuses = asyncio.run(asked(gateway, 60))
            assert statuses.count(200) == BUDGET - 20


def test_results_that_are_read_again_after_a_start_count_once(tmp_path):
    """A rule of a year reads the ledger's sums, and no answer by its id."""
    whole = {"id": "resp_1", "object": "response", "status": "completed", "model": "m"}
    usage = {"input_tokens": 10, "output_tokens": 3, "total_tokens": 13}
    told_again = gives({**whole, "output": [], "usage": usage})
    with ScriptedUpstream(told_again) as upstream:
        tables = config(upstream, rule(scope="gateway"), state_dir=str(tmp_path / "state"))
        tables["enabled"] = [*ENABLED, "ledger"]

        for _ in range(2):
            with running_gateway(tables) as gateway:
                for _ in range(2):
                    httpx.get(f"{gateway.url}/openai/v1/responses/resp_1")
                assert told(gateway, tmp_path)["round", "default"]["spent"] == 3 * 10**9
                gateway.kill()


def test_what_is_counted_is_what_the_ledgers_rows_come_to(tmp_path):
    """Models with and without a price, in streams and whole, refused, cut and left by callers."""
    random = Random(7)
    tokens = {"unpriced": "tokens", "token_price": {"input": 2, "output": 100_000}}
    rules = (
        rule(scope="gateway", limit="1M USD/year", **tokens),
        rule(name="each", scope=["provider", "model"], limit="1M USD/day", **tokens),
        rule(name="tokens", scope="gateway", limit="1G tokens/month"),
    )

    def script(visit: Visit) -> None:
        asked = orjson.loads(visit.read())
        kind = random.choice(("whole", "whole", "stream", "error", "cut", "reset"))
        counts = {"prompt_tokens": random.randrange(50), "completion_tokens": random.randrange(9)}
        usage = {**counts, "total_tokens": sum(counts.values())}
        whole = {**ANSWER, "model": asked["model"], "usage": usage}
        if kind == "whole":
            visit.send(sized(orjson.dumps(whole), (b"Content-Type", b"application/json")))
        elif kind == "error":
            visit.send(sized(b'{"error": {"message": "no"}}', status=500))
        elif kind == "reset":
            visit.reset()
        else:
            visit.send(head(200, (b"Content-Type", b"text/event-stream")))
            visit.send(sse(chat_chunk({"role": "assistant", "content": "Hello there"})))
            if kind == "stream":
                visit.send(sse({**chat_chunk({}, "stop"), "usage": usage}) + b"data: [DONE]\n\n")
            visit.connection.sock.close()

    with ScriptedUpstream(script) as upstream:
        tables = config(upstream, *rules, state_dir=str(tmp_path / "state"))
        tables["enabled"] = [*ENABLED, "ledger"]
        prices = [{"model": name, "input": 1, "output": 1_000} for name in "ab"]
        tables["plugins"]["cost"] = {"bundled": False, "models": prices}
        with running_gateway(tables) as gateway:
            with httpx.Client() as client:
                for _ in range(60):
                    body = {"model": random.choice("abcd"), "messages": [{"content": "Hi"}]}
                    url = f"{gateway.url}/{random.choice(('openai', 'ollama'))}/v1/chat/completions"
                    with contextlib.suppress(httpx.HTTPError):
                        client.post(url, json={**body, "stream": random.random() < 0.5})
            live = {key: each["spent"] for key, each in told(gateway, tmp_path).items()}
        with running_gateway(tables) as gateway:
            again = {key: each["spent"] for key, each in told(gateway, tmp_path).items()}
    assert again == live
    rows = sqlite3.connect(tmp_path / "state" / "ledger.db").execute("SELECT entry FROM entries")
    wanted: dict[tuple[str, ...], int] = {}
    for (text,) in rows:
        entry = orjson.loads(text)
        for each in entry["attempts"]:
            read, written = each.get("fresh_input", 0), each.get("output_text", 0)
            cost = each.get("cost_nanousd", 2_000 * read + 10**8 * written)
            for key, more in (
                (("round", "default"), cost),
                (("each", each["provider"], entry["model"]), cost),
                (("tokens", "default"), read + written),
            ):
                wanted[key] = wanted.get(key, 0) + more
    assert live == {key: spent for key, spent in wanted.items() if spent}
    assert len(live) > 6


def test_a_rule_that_comes_by_a_reload_counts_what_was_spent_before(tmp_path):
    state = str(tmp_path / "state")
    early = rule(name="early", limit="1k USD/year")
    late = [
        rule(limit="20 USD/month"),
        rule(name="split", scope="gateway", limit="1k tokens/hour"),
    ]
    with ScriptedUpstream(gives(ANSWER)) as upstream:
        tables = config(upstream, early, state_dir=state)
        tables["enabled"] = [*ENABLED, "ledger"]
        more = config(upstream, early, *late, state_dir=state)
        more["enabled"] = tables["enabled"]

        with running_gateway(tables) as gateway:
            assert asyncio.run(asked(gateway, 15)) == [200] * 15
            gateway.write_config(more)
            gateway.signal(signal.SIGHUP)
            gateway.wait_for_log("reloaded")
            assert asyncio.run(asked(gateway, 1)) == [200]
            gateway.wait_for_log("budgets_read", 2, timeout_s=10)
            found = {key: each["spent"] for key, each in told(gateway, tmp_path).items()}
            assert found == {
                ("early", "a"): 16 * 10**9,
                ("round", "a"): 16 * 10**9,
                ("split", "default"): 160,
            }
            assert asyncio.run(asked(gateway, 10)).count(200) == 4


def test_rules_that_go_and_come_back_count_what_was_spent_meanwhile(tmp_path):
    with ScriptedUpstream(gives(ANSWER)) as upstream:
        tables = config(upstream, rule(limit="20 USD/month"), state_dir=str(tmp_path / "state"))
        tables["enabled"] = [*ENABLED, "ledger"]
        bare = {**tables, "plugins": {"cost": PRICES}}

        with running_gateway(tables) as gateway:
            assert asyncio.run(asked(gateway, 3)) == [200] * 3
            for number, each in enumerate((bare, tables), 1):
                gateway.write_config(each)
                gateway.signal(signal.SIGHUP)
                gateway.wait_for_log("reloaded", number)
                assert asyncio.run(asked(gateway, 5)) == [200] * 5
                assert ("round", "a") in told(gateway, tmp_path) or each is bare
            gateway.wait_for_log("budgets_read", 2, timeout_s=10)
            assert told(gateway, tmp_path)["round", "a"]["spent"] == 13 * 10**9


def test_a_start_counts_what_was_spent_where_a_rule_is(tmp_path):
    with ScriptedUpstream(gives(ANSWER)) as upstream:
        month = rule(limit="20 USD/month")
        hour = rule(name="hour", limit="20 USD/hour")
        tables = config(upstream, month, hour, state_dir=str(tmp_path / "state"))
        tables["enabled"] = [*ENABLED, "ledger"]
        tables["gateways"] = {"free": {"plugins": {"budget": {"rules": []}}}}

        with running_gateway(tables) as gateway:
            for name in ("default", "free", "free"):
                assert asyncio.run(asked(gateway, 2, name)) == [200] * 2
            gateway.kill()
        with running_gateway(tables) as gateway:
            found = {key: each["spent"] for key, each in told(gateway, tmp_path).items()}
            assert found == {("round", "a"): 2 * 10**9, ("hour", "a"): 2 * 10**9}


async def asked(gateway: RunningGateway, count: int, name: str = "default") -> list[int]:
    async with Callers(gateway.port, name) as callers:
        return await callers.ask(count, "a")


def told(gateway: RunningGateway, folder: Any) -> dict[tuple[str, ...], dict[str, Any]]:
    token = (folder / "state" / "admin.token").read_text().strip()
    fields = {"Authorization": f"Bearer {token}"}
    found = httpx.get(f"{gateway.admin_url}/api/budgets", headers=fields).json()
    return {
        (each["name"], *subject["subject"].values()): subject
        for each in found["rules"]
        for subject in each["subjects"]
    }
