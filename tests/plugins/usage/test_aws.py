from __future__ import annotations

import binascii
import random

import pytest

from plugins.usage.aws import MESSAGE_BYTES_MAX, Malformed, MessageSplitter, inner_of
from tests.gateway.answers import aws_message, invoked

PAYLOADS = [b'{"a":1}', b"", b"x" * 5000, b'{"b":2}']
STREAM = b"".join(aws_message(payload, b"chunk") for payload in PAYLOADS)


def test_messages_come_out_however_they_were_cut():
    choose = random.Random(1)
    for _ in range(200):
        splitter, found, at = MessageSplitter(), [], 0
        while at < len(STREAM):
            size = choose.choice((1, 3, 16, 700, 9000))
            found += splitter.feed(STREAM[at : at + size])
            at += size
        assert found == PAYLOADS


def test_an_unfinished_message_is_not_given():
    splitter = MessageSplitter()

    assert splitter.feed(STREAM[:-1]) == PAYLOADS[:-1]
    assert splitter.feed(STREAM[-1:]) == PAYLOADS[-1:]


@pytest.mark.parametrize("at", [0, 5, 9])
def test_a_prelude_that_is_damaged_is_no_stream(at):
    damaged = bytearray(STREAM)
    damaged[at] ^= 1
    with pytest.raises(Malformed):
        MessageSplitter().feed(bytes(damaged))


def test_lengths_that_cannot_be_are_refused():
    for payload, extra in ((b"x", MESSAGE_BYTES_MAX), (b"", -40)):
        size = len(aws_message(payload, b"chunk")) + extra
        prelude = max(size, 0).to_bytes(4, "big") + (90).to_bytes(4, "big")
        with pytest.raises(Malformed):
            MessageSplitter().feed(prelude + binascii.crc32(prelude).to_bytes(4, "big"))


def test_the_models_own_event_is_taken_out_of_its_base64():
    (payload,) = MessageSplitter().feed(invoked({"type": "message_stop"}))

    assert inner_of(payload) == b'{"type":"message_stop"}'
    assert inner_of(b'{"delta":1}') == b'{"delta":1}'
