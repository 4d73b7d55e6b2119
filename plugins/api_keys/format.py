"""What a key looks like: a prefix, 30 random characters and 6 of a checksum.

    weir-8Zk2...30 of [0-9A-Za-z]...4fQx1B   (CRC-32 of all before it, in base62)

30 characters hold 178 bits, so a plain SHA-256 is a safe way to keep one: nobody can try them all.
The checksum tells a typo from a key that nobody has made, without asking anybody; CRC-32 finds
every error within 32 bits, so every single wrong character. Scanners for secrets find keys by
`[0-9A-Za-z]{36}` behind the prefix.
"""

from __future__ import annotations

import re
import secrets
import string
from hashlib import sha256
from typing import Final
from zlib import crc32

PREFIX: Final = "weir-"
# What people double-click, paste into URLs and shells, and scanners can tell.
PREFIX_FORM: Final = re.compile(r"[A-Za-z0-9_-]{1,20}")
ALPHABET: Final = (string.digits + string.ascii_uppercase + string.ascii_lowercase).encode()
RANDOM_CHARS: Final = 30
CHECK_CHARS: Final = 6
# What is shown of a key, to tell it from others: its prefix and this much of its end.
HINT_CHARS: Final = 4
_FORM: Final = re.compile(rb"[A-Za-z0-9_-]{1,20}[0-9A-Za-z]{36}")
_DIGEST_FORM: Final = re.compile(r"[0-9a-f]{64}")


def make(prefix: str = PREFIX) -> str:
    """A new key."""
    start = prefix.encode() + bytes(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARS))
    return (start + checksum(start)).decode()


def checksum(start: bytes) -> bytes:
    """The last characters of a key that starts so."""
    left = crc32(start)
    signs = []
    for _ in range(CHECK_CHARS):
        left, sign = divmod(left, len(ALPHABET))
        signs.append(ALPHABET[sign])
    return bytes(reversed(signs))


def is_sound(key: bytes) -> bool:
    """Whether this may be a key that a gateway has made, whatever its prefix."""
    if _FORM.fullmatch(key) is None:
        return False
    return checksum(key[:-CHECK_CHARS]) == key[-CHECK_CHARS:]


def digest_of(key: bytes) -> bytes:
    """What is kept of a key."""
    return sha256(key).digest()


def parse_digest(written: str) -> bytes:
    """A digest as the configuration writes it, SHA-256 in hex. ValueError for another text."""
    if _DIGEST_FORM.fullmatch(written) is None:
        raise ValueError("wanted the SHA-256 of a key in hex, as `weir keys hash` prints it")
    return bytes.fromhex(written)


def hint_of(key: str) -> str:
    """How a key is told from others when it is not shown: "weir-...4fQx"."""
    prefix = key[: -(RANDOM_CHARS + CHECK_CHARS)]
    return f"{prefix}...{key[-HINT_CHARS:]}"
