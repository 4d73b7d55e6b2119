"""Which requests ask for a WebSocket, and which 101 answers one."""

from __future__ import annotations

import pytest

from gateway.handshake import accept_of, deflate_of, key_of, wrong_switch
from gateway.websocket import Unreadable

# RFC 6455 section 1.3.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def asking(**changed: bytes | None) -> list[tuple[bytes, bytes]]:
    """Give the fields of a right request, some of them changed or left out."""
    fields: dict[str, bytes | None] = {
        "host": b"a",
        "connection": b"Upgrade",
        "upgrade": b"websocket",
        "sec_websocket_key": KEY,
        "sec_websocket_version": b"13",
    }
    fields |= changed
    return [
        (name.replace("_", "-").encode(), value)
        for name, value in fields.items()
        if value is not None
    ]


def test_the_example_of_the_rfc():
    assert accept_of(KEY) == ACCEPT


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"connection": b"keep-alive, UPGRADE"},
        {"upgrade": b"WebSocket"},
        {"sec_websocket_key": b"  " + KEY},
    ],
)
def test_a_right_request_gives_its_key(changed):
    assert key_of(asking(**changed)) == KEY


@pytest.mark.parametrize(
    "changed",
    [
        {"connection": b"keep-alive"},
        {"connection": None},
        {"upgrade": b"h2c"},
        {"upgrade": b"h2c, websocket"},
        {"upgrade": None},
        {"sec_websocket_key": None},
        {"sec_websocket_key": b""},
        {"sec_websocket_key": KEY[:-4]},
        {"sec_websocket_key": KEY[:-1]},
        {"sec_websocket_key": b"dGhlIHNhbXBsZSBub25jZR=="},
        {"sec_websocket_version": b"8"},
        {"sec_websocket_version": b"13, 8"},
        {"sec_websocket_version": None},
    ],
)
def test_any_other_request_gives_none(changed):
    assert key_of(asking(**changed)) is None


@pytest.mark.parametrize("name", [b"Sec-WebSocket-Key", b"Upgrade", b"Sec-WebSocket-Version"])
def test_a_field_that_stands_there_twice_gives_none(name):
    fields = asking()
    twice = next((name, value) for have, value in fields if have == name.lower())
    assert key_of([*fields, twice]) is None


SWITCH = {b"Connection": b"Upgrade", b"Upgrade": b"websocket", b"Sec-WebSocket-Accept": ACCEPT}


def test_a_right_switch_has_nothing_wrong():
    assert wrong_switch([*SWITCH.items()], KEY) == ""


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        (b"Connection", b"close", "Connection"),
        (b"Upgrade", b"h2c", "websocket"),
        (b"Sec-WebSocket-Accept", KEY, "Sec-WebSocket-Accept"),
        (b"Sec-WebSocket-Accept", b"", "Sec-WebSocket-Accept"),
    ],
)
def test_what_is_wrong_with_a_switch_is_named(name, value, word):
    assert word in wrong_switch([*(SWITCH | {name: value}).items()], KEY)


def test_an_accept_that_stands_there_twice_is_wrong():
    fields = [*SWITCH.items(), (b"Sec-WebSocket-Accept", ACCEPT)]
    assert "Accept" in wrong_switch(fields, KEY)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([], None),
        ([b""], None),
        ([b"permessage-deflate"], (False, False)),
        ([b"Permessage-Deflate; server_max_window_bits=10"], (False, False)),
        ([b"permessage-deflate; client_no_context_takeover"], (True, False)),
        ([b"permessage-deflate;server_no_context_takeover ;x"], (False, True)),
    ],
)
def test_what_compression_was_agreed_on(values, wanted):
    found = deflate_of(values)
    assert (None if found is None else (found.client_anew, found.server_anew)) == wanted


@pytest.mark.parametrize(
    "values",
    [[b"x-unknown"], [b"permessage-deflate", b"x"], [b"permessage-deflate, permessage-deflate"]],
)
def test_an_extension_that_is_not_known_cannot_be_read(values):
    with pytest.raises(Unreadable, match="extension"):
        deflate_of(values)
