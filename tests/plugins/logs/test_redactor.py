"""The process that applies rules: in their order, to any bytes, until nobody asks any more."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading

import msgspec

from plugins.logs import redactor
from plugins.logs.redactor import applied, serve


def test_rules_are_applied_in_their_order():
    rules = [("a+", "b"), ("b(.)", r"<\1>")]
    assert applied(rules, ["aac", "x", ""]) == ["<c>", "x", ""]


def tell(channel: socket.socket, rules: list[tuple[str, str]], *texts: bytes) -> None:
    frame = msgspec.msgpack.encode((rules, texts))
    channel.sendall(len(frame).to_bytes(4, "big") + frame)


def ask(channel: socket.socket, rules: list[tuple[str, str]], *texts: bytes) -> list[bytes]:
    tell(channel, rules, *texts)
    with channel.makefile("rb") as answers:
        size = int.from_bytes(answers.read(4), "big")
        found: list[bytes] = msgspec.msgpack.decode(answers.read(size))
    return found


def test_it_answers_frame_after_frame_until_the_other_end_is_closed():
    ours, theirs = socket.socketpair()
    serving = threading.Thread(target=serve, args=(theirs, 0))
    serving.start()
    with ours, theirs:
        broken = b"\xff\x00\xed\xa0\x80 4111 \xc3"
        assert ask(ours, [(r"\d+", "#")], broken, b"7") == [broken.replace(b"4111", b"#"), b"#"]
        assert ask(ours, [("x", "y")], b"x" * 1_000_000) == [b"y" * 1_000_000]
        ours.shutdown(socket.SHUT_WR)
        serving.join(10)
        assert not serving.is_alive()


def test_one_whose_owner_was_killed_does_not_go_on_for_ever():
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-P", redactor.__file__, "1"]
    with theirs:
        process = subprocess.Popen(command, stdin=theirs.fileno())
    with ours:
        assert ask(ours, [("a", "b")], b"a") == [b"b"]
        process.send_signal(signal.SIGTERM)
        assert ask(ours, [("a", "b")], b"a") == [b"b"]
        tell(ours, [("(a+)+$(?<=b)", "")], b"a" * 64 + b"!")
    assert process.wait(20) == -signal.SIGALRM
