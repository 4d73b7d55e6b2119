"""The realtime client of the OpenAI SDK, a WebSocket, through the gateway."""

from __future__ import annotations

import openai
import pytest

from gateway.testing import RawCaller, ScriptedUpstream, Visit, running_gateway
from tests.gateway.frames import TEXT, frame, read_frame, switch

SDK = pytest.mark.sdk("openai", "PyPI")
SESSION = b'{"type":"session.created","event_id":"event_1","session":{"id":"sess_1"}}'
DELTA = b'{"type":"response.output_text.delta","event_id":"event_%d","response_id":"resp_1",\
"item_id":"item_1","output_index":0,"content_index":0,"delta":"%b"}'
DONE = b'{"type":"response.done","event_id":"event_9","response":{"id":"resp_1"}}'


def speaks(visit: Visit) -> None:
    """Play the provider: a session, and an answer to whoever asks for one."""
    visit.read()
    visit.send(switch(visit) + frame(TEXT, SESSION))
    while True:
        opcode, payload = read_frame(visit.connection.wire)
        if opcode == 8:
            visit.send(frame(8, payload))
            visit.fin()
            return
        if b"response.create" in payload:
            words = (b"Down", b"hill")
            told = [frame(TEXT, DELTA % (at, word)) for at, word in enumerate(words)]
            visit.send(b"".join(told) + frame(TEXT, DONE))


@SDK
@pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")  # how it calls `websockets`
@pytest.mark.parametrize("is_named", [False, True])
def test_the_realtime_client_speaks_through_the_gateway(is_named):
    with (
        ScriptedUpstream(speaks) as upstream,
        running_gateway(
            {"providers": {"openai": upstream.provider()}, "enabled": ["credentials"]},
            env={"OPENAI_API_KEY": "sk-of-the-gateway"},
        ) as gateway,
    ):
        base = f"{gateway.url}/openai/v1"
        ws_base = base.replace("http://", "ws://") if is_named else None
        client = openai.OpenAI(
            api_key="sk-of-the-caller", base_url=base, websocket_base_url=ws_base
        )
        with client, client.realtime.connect(model="gpt-realtime") as connection:
            first = connection.recv()
            connection.response.create()
            words = []
            for event in connection:
                if event.type == "response.output_text.delta":
                    words.append(event.delta)
                if event.type == "response.done":
                    break

        assert first.type == "session.created"
        assert words == ["Down", "hill"]
        request = upstream.requests[0]
        assert request.target == b"/v1/realtime?model=gpt-realtime"
        assert request.get(b"authorization") == b"Bearer sk-of-the-caller"
        assert not gateway.crashes


def test_the_mock_has_no_realtime_endpoint_and_says_so():
    with running_gateway(plugins=["mock"]) as gateway, RawCaller(gateway.port) as caller:
        caller.send(
            b"GET /mock/v1/realtime HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n"
        )
        assert caller.answer().status == 404
