"""The process that applies the rules to texts, started by `redacting` as a program of its own.

A regular expression may take hours for a text that was made for it, and holds the interpreter for
as long. Here it holds up nobody, and the process can be killed.

A question and its answer are frames on standard input, a socket: four bytes of length, and
MessagePack: of rules, pairs of pattern and replacement, and of texts; and of the texts after that.
It ends with its owner, or when a question takes more seconds than its argument says.
"""

from __future__ import annotations

import re
import signal
import socket
import sys
from collections.abc import Iterable

import msgspec

Rules = list[tuple[str, str]]


def applied(rules: Rules, texts: Iterable[str]) -> list[str]:
    """The texts after all rules, in their order."""
    found = list(texts)
    for pattern, replacement in rules:
        expression = re.compile(pattern)
        found = [expression.sub(replacement, text) for text in found]
    return found


def serve(channel: socket.socket, alarm_s: int) -> None:
    """Answer until nobody asks any more. alarm_s: what a question may take; 0 is no bound."""
    decoder = msgspec.msgpack.Decoder(tuple[Rules, list[bytes]])
    with channel.makefile("rwb") as frames:
        while header := frames.read(4):
            signal.alarm(alarm_s)  # its default is to end the process, whatever that is at
            rules, texts = decoder.decode(frames.read(int.from_bytes(header, "big")))
            # Texts may hold halves of characters, where a body was cut.
            given = (text.decode("utf-8", "surrogateescape") for text in texts)
            said = [text.encode("utf-8", "surrogateescape") for text in applied(rules, given)]
            answer = msgspec.msgpack.encode(said)
            frames.write(len(answer).to_bytes(4, "big") + answer)
            frames.flush()
            signal.alarm(0)


if __name__ == "__main__":
    # Whoever stops the gateway may tell all of its processes; it still has bodies to keep.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(socket.socket(fileno=0), int(sys.argv[1]))
