"""A body that a plugin wants is read before the rest of the line, and a form tells its model."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from gateway.intake import is_json
from gateway.testing import (
    Ran,
    RawCaller,
    ScriptedUpstream,
    answers,
    exchange,
    plan_of,
    run,
    running_gateway,
)

PATH = b"v1/audio/transcriptions"
SOUND = bytes(range(256)) * 2000


class ReadsJson:
    reads = "json"


class ReadsAll:
    reads = "all"


def form(*, file_first: bool = False, **fields: str) -> tuple[bytes, bytes]:
    """A form as clients send it, and its Content-Type."""
    files: list[Any] = [("file", ("a.wav", SOUND))]
    plain: list[Any] = [(name, (None, value)) for name, value in fields.items()]
    parts = [*files, *plain] if file_first else [*plain, *files]
    request = httpx.Request("POST", "http://h", files=parts)
    return request.read(), request.headers["content-type"].encode()


def sent(body: bytes, kind: bytes, *plugins: object) -> tuple[Ran, bytes]:
    """Send it through the line; what came of it, and the body that went up."""
    with ScriptedUpstream(answers(b"{}")) as upstream:
        made = exchange(path=PATH, headers=[(b"Content-Type", kind)], body=body)
        made.model = None
        ran = run(plan_of(*plugins), made, upstream)
        return ran, upstream.requests[0].body


@pytest.mark.parametrize("file_first", [False, True])
@pytest.mark.parametrize("stream", [None, "true", "false"])
def test_a_form_tells_its_model_and_goes_up_as_it_came(
    file_first: bool, stream: str | None
) -> None:
    more = {} if stream is None else {"stream": stream}
    body, kind = form(file_first=file_first, model="whisper-1", **more)
    ran, up = sent(body, kind, ReadsJson())

    made = ran.exchange
    assert (made.model, made.streaming, made.body) == ("whisper-1", stream == "true", None)
    assert up == body


@pytest.mark.parametrize("plugins", [(), (ReadsAll(),)])
def test_a_form_is_not_looked_into_where_nobody_reads_json(plugins: tuple[object, ...]) -> None:
    body, kind = form(model="whisper-1")
    ran, up = sent(body, kind, *plugins)

    assert (ran.exchange.model, up) == (None, body)
    assert ran.exchange.body == (body if plugins else None)


@pytest.mark.parametrize(
    ("bytes_max", "file_first", "model"),
    [
        ("32MiB", False, "whisper-1"),
        ("32MiB", True, "whisper-1"),
        ("5kB", False, "whisper-1"),
        ("5kB", True, None),  # behind what is too large to be held
    ],
)
def test_a_form_that_comes_slowly_is_waited_for_as_far_as_it_may_be_held(
    bytes_max: str, file_first: bool, model: str | None
) -> None:
    body, kind = form(file_first=file_first, model="whisper-1")
    config: dict[str, Any] = {
        "enabled": ["usage", "access_log"],
        "limits": {"read_bytes_max": bytes_max},
    }
    with ScriptedUpstream(answers(b"{}")) as upstream:
        config["providers"] = {"openai": upstream.provider()}
        with running_gateway(config) as gateway, RawCaller(gateway.port) as caller:
            fields = b"Content-Type: %b\r\nContent-Length: %d" % (kind, len(body))
            head = b"POST /openai/%b HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n" % (PATH, fields)
            caller.send(head)
            for at in range(0, len(body), 60_000):
                caller.send(body[at : at + 60_000])
                time.sleep(0.02)
            assert caller.answer(to=b"POST").status == 200
            logged = gateway.wait_for_log("exchange")

        assert upstream.requests[0].body == body
        assert logged.get("model") == model


@pytest.mark.parametrize("kind", [b"application/json", b"Application/JSON", b"text/json; x=1"])
def test_json_is_known_by_its_type(kind: bytes) -> None:
    assert is_json(kind)
    assert not is_json(b"text/plain")
