"""The realtime clients of the SDKs, WebSockets all of them, through the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any

import openai
import orjson
import pytest
import trustme
from google import genai
from google.genai import types

from gateway.testing import BrokenOff, RawCaller, ScriptedUpstream, Visit, running_gateway
from tests.gateway.frames import BINARY, CLOSE, TEXT, frame, read_frame, switch
from tests.gateway.secured import written

Event = dict[str, Any]

OPENAI = pytest.mark.sdk("openai", "PyPI")
GOOGLE = pytest.mark.sdk("google-genai", "PyPI")
WORDS = ("Down", "hill")


class Provider:
    """A provider's end of one session. reply: the events that answer an event. heard: the events
    that came. code: of the caller's goodbye.
    """

    def __init__(
        self, reply: Callable[[Event], list[Event]], opcode: int, *greeting: Event
    ) -> None:
        self.heard: list[Event] = []
        self.code = 0
        self._reply = reply
        self._opcode = opcode
        self._greeting = greeting

    def __call__(self, visit: Visit) -> None:
        visit.read()
        visit.send(switch(visit), *map(self._framed, self._greeting))
        with contextlib.suppress(BrokenOff):
            while True:
                opcode, payload = read_frame(visit.connection.wire)
                if opcode == CLOSE:
                    self.code = int.from_bytes(payload[:2], "big")
                    visit.send(frame(CLOSE, payload))
                    visit.fin()
                    return
                self.heard.append(orjson.loads(payload))
                visit.send(*map(self._framed, self._reply(self.heard[-1])))

    def _framed(self, event: Event) -> bytes:
        return frame(self._opcode, orjson.dumps(event))


def openai_replies(event: Event) -> list[Event]:
    if event["type"] == "session.update":
        return [{"type": "session.updated", "event_id": "event_2", "session": event["session"]}]
    if event["type"] == "conversation.item.create":
        return [{"type": "conversation.item.added", "event_id": "event_3", "item": event["item"]}]
    told: Event = {"response_id": "resp_1", "item_id": "item_1"}
    told |= {"output_index": 0, "content_index": 0}
    deltas = [
        {"type": "response.output_text.delta", "event_id": f"event_{at}", "delta": word, **told}
        for at, word in enumerate(WORDS, 4)
    ]
    done = {"type": "response.output_text.done", "event_id": "event_8", "text": "Downhill", **told}
    response = {"id": "resp_1", "object": "realtime.response", "status": "completed"}
    return [*deltas, done, {"type": "response.done", "event_id": "event_9", "response": response}]


@OPENAI
@pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")  # how it calls `websockets`
@pytest.mark.parametrize("is_named", [False, True])
def test_the_realtime_client_speaks_through_the_gateway(is_named):
    session = {"type": "session.created", "event_id": "event_1", "session": {"id": "sess_1"}}
    provider = Provider(openai_replies, TEXT, session)
    with (
        ScriptedUpstream(provider) as upstream,
        running_gateway(
            {
                "providers": {"openai": upstream.provider()},
                "enabled": ["credentials", "access_log"],
            },
            env={"OPENAI_API_KEY": "sk-of-the-gateway"},
        ) as gateway,
    ):
        base = f"{gateway.url}/openai/v1"
        ws_base = base.replace("http://", "ws://") if is_named else None
        client = openai.OpenAI(
            api_key="sk-of-the-caller", base_url=base, websocket_base_url=ws_base
        )
        with client, client.realtime.connect(model="gpt-realtime") as connection:
            got: list[Any] = [connection.recv()]
            connection.session.update(
                session={"type": "realtime", "output_modalities": ["text"], "instructions": "é"}
            )
            got.append(connection.recv())
            said: Any = {"type": "input_text", "text": "Where to?"}
            connection.conversation.item.create(
                item={"type": "message", "role": "user", "content": [said]}
            )
            got.append(connection.recv())
            connection.response.create()
            words = []
            for event in connection:
                if event.type == "response.output_text.delta":
                    words.append(event.delta)
                if event.type == "response.done":
                    break
        line = gateway.wait_for_log("exchange")

        created, updated = "session.created", "session.updated"
        assert [event.type for event in got] == [created, updated, "conversation.item.added"]
        assert got[1].session.instructions == "é"
        assert words == list(WORDS)
        sent = ["session.update", "conversation.item.create", "response.create"]
        assert [event["type"] for event in provider.heard] == sent
        assert provider.code == 1000
        assert (line["status"], line["outcome"]) == (101, "complete")
        request = upstream.requests[0]
        assert request.target == b"/v1/realtime?model=gpt-realtime"
        assert request.get(b"authorization") == b"Bearer sk-of-the-caller"
        assert not gateway.crashes


def google_replies(event: Event) -> list[Event]:
    if "setup" in event:
        return [{"setupComplete": {}}]
    turns = [{"modelTurn": {"role": "model", "parts": [{"text": word}]}} for word in WORDS]
    return [{"serverContent": turn} for turn in (*turns, {"turnComplete": True})]


@GOOGLE
@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")
def test_the_live_client_speaks_through_the_gateway(tmp_path):
    """It wants TLS whatever the base URL says, so the gateway has a certificate."""
    authority = trustme.CA()
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trust)
    provider = Provider(google_replies, BINARY)

    async def talk(port: int) -> list[str]:
        client = genai.Client(
            api_key="key-of-the-caller",
            http_options=types.HttpOptions(
                base_url=f"https://localhost:{port}/google-ai-studio",
                api_version="v1beta",
                async_client_args={"ssl": trust},
            ),
        )
        config = types.LiveConnectConfig(response_modalities=[types.Modality.TEXT])
        async with client.aio.live.connect(model="gemini-live", config=config) as session:
            await session.send_client_content(
                turns=types.Content(role="user", parts=[types.Part(text="Where to?")])
            )
            return [message.text async for message in session.receive() if message.text]

    with (
        ScriptedUpstream(provider) as upstream,
        running_gateway(
            {
                "providers": {"google-ai-studio": upstream.provider()},
                "server": written(authority, tmp_path),
                "enabled": ["credentials", "access_log"],
            },
            env={"GEMINI_API_KEY": "key-of-the-gateway"},
        ) as gateway,
    ):
        words = asyncio.run(talk(gateway.port))
        line = gateway.wait_for_log("exchange")

        assert words == list(WORDS)
        assert [next(iter(event)) for event in provider.heard] == ["setup", "client_content"]
        assert provider.heard[0]["setup"]["model"] == "models/gemini-live"
        assert provider.code == 1000
        assert (line["status"], line["outcome"]) == (101, "complete")
        service = b"google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
        assert upstream.requests[0].target == b"/ws/" + service
        assert upstream.requests[0].get(b"x-goog-api-key") == b"key-of-the-caller"
        assert not gateway.crashes


def test_the_mock_has_no_realtime_endpoint_and_says_so():
    with running_gateway(plugins=["mock"]) as gateway, RawCaller(gateway.port) as caller:
        caller.send(
            b"GET /mock/v1/realtime HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n"
        )
        assert caller.answer().status == 404
