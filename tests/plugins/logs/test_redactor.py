"""The process that applies rules: in their order, to any bytes, until nobody asks any more."""

from __future__ import annotations

import socket
import threading

import msgspec

from plugins.logs.redactor import applied, serve


def test_rules_are_applied_in_their_order():
    rules = [("a+", "b"), ("b(.)", r"<\1>")]
    assert applied(rules, ["aac", "x", ""]) == ["<c>", "x", ""]


def ask(channel: socket.socket, rules: list[tuple[str, str]], *texts: bytes) -> list[bytes]:
    frame = msgspec.msgpack.encode((rules, texts))
    channel.sendall(len(frame).to_bytes(4, "big") + frame)
    with channel.makefile("rb") as answers:
        size = int.from_bytes(answers.read(4), "big")
        found: list[bytes] = msgspec.msgpack.decode(answers.read(size))
    return found


def test_it_answers_frame_after_frame_until_the_other_end_is_closed():
    ours, theirs = socket.socketpair()
    serving = threading.Thread(target=serve, args=(theirs,))
    serving.start()
    with ours, theirs:
        broken = b"\xff\x00\xed\xa0\x80 4111 \xc3"
        assert ask(ours, [(r"\d+", "#")], broken, b"7") == [broken.replace(b"4111", b"#"), b"#"]
        assert ask(ours, [("x", "y")], b"x" * 1_000_000) == [b"y" * 1_000_000]
        ours.shutdown(socket.SHUT_WR)
        serving.join(10)
        assert not serving.is_alive()
