"""Amazon's event stream, as Bedrock's streaming answers come: framed messages, not text.

A message is its length, the length of its headers and a CRC of both (4 bytes each), headers, a
payload, and a CRC of all (Amazon Transcribe's and Bedrock's "event stream encoding"). Payloads are
JSON; InvokeModel's hold the model's own event under `bytes` in base64.
"""

from __future__ import annotations

import binascii
from typing import Final

# Bedrock's are far below; what says that it is larger is not such a stream.
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
_PRELUDE_BYTES: Final = 12
_CRC_BYTES: Final = 4
_INVOKED: Final = b'{"bytes":"'


class Malformed(ValueError):
    """The bytes are no event stream."""


class MessageSplitter:
    """Cuts one stream into the payloads of its messages."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take a slice of the stream; give the payloads that it completes."""
        rest = self._rest
        rest += data
        payloads = []
        start = 0
        while len(rest) - start >= _PRELUDE_BYTES:
            size = int.from_bytes(rest[start : start + 4], "big")
            headers = int.from_bytes(rest[start + 4 : start + 8], "big")
            said = int.from_bytes(rest[start + 8 : start + 12], "big")
            if binascii.crc32(rest[start : start + 8]) != said:
                raise Malformed("the prelude of an event has another checksum")
            payload = start + _PRELUDE_BYTES + headers
            end = start + size - _CRC_BYTES
            if size > MESSAGE_BYTES_MAX or payload > end:
                raise Malformed("an event's lengths cannot be")
            if len(rest) < start + size:
                break
            payloads.append(bytes(rest[payload:end]))
            start += size
        del rest[:start]
        return payloads


def inner_of(payload: bytes) -> bytes:
    """The model's own event within a payload of InvokeModel's; any other payload as it is."""
    if not payload.startswith(_INVOKED):
        return payload
    return binascii.a2b_base64(payload[len(_INVOKED) : payload.index(b'"', len(_INVOKED))])
