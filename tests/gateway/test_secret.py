from __future__ import annotations

import copy
import gc
import logging
import pickle
import threading

import msgspec
import orjson
import pytest

from gateway.secret import GONE_MAX, Secret, resolve, scrub

VALUE = b"sk-live-7f3a9c0d55"


def shown(secret: Secret) -> list[str]:
    record = logging.LogRecord("x", 10, "f", 1, "%s %r", (secret, secret), None)
    return [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        format(secret, "s"),
        repr([secret]),
        repr({"key": secret}),
        record.getMessage(),
    ]


def test_no_way_of_printing_shows_the_value():
    for secret in (Secret(VALUE), Secret(VALUE, reference="env:KEY")):
        for text in shown(secret):
            assert VALUE.decode() not in text


def test_the_reference_shows_and_an_inline_value_shows_as_a_mask():
    assert repr(Secret(VALUE, reference="env:KEY")) == "Secret(env:KEY)"
    assert repr(Secret(VALUE)) == "Secret(***)"


def test_nothing_serialises_it_by_accident():
    secret = Secret(VALUE)
    attempts = [
        lambda: orjson.dumps({"key": secret}),
        lambda: msgspec.json.encode({"key": secret}),
        lambda: msgspec.to_builtins({"key": secret}),
        lambda: pickle.dumps(secret),
        lambda: vars(secret),
    ]
    for attempt in attempts:
        with pytest.raises(TypeError):
            attempt()


def test_a_copy_is_the_same_object():
    secret = Secret(VALUE)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


def test_reveal_gives_the_value():
    assert Secret(VALUE).reveal() == VALUE


def test_it_equals_its_value_and_equal_secrets_and_nothing_else():
    secret = Secret(VALUE)
    assert secret == VALUE
    assert secret == Secret(VALUE, reference="env:OTHER")
    assert hash(secret) == hash(Secret(VALUE))
    assert secret != VALUE.decode()
    assert secret != Secret(b"another value")
    assert secret != Secret(None)
    assert Secret(None) != Secret(None)


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({}, "not set"),
        ({"KEY": ""}, "empty"),
        ({"KEY": "  \n"}, "empty"),
        ({"KEY": "a\r\nX-Evil: 1"}, "unusable: it holds control bytes"),
        ({"KEY": "a\x7fb"}, "unusable: it holds control bytes"),
    ],
)
def test_a_reference_that_leads_nowhere_is_missing_and_says_why(environ, why):
    secret = resolve("env:KEY", environ)
    assert (secret.missing, secret.why_missing, secret.inline) == (True, why, False)
    with pytest.raises(LookupError, match=r"env:KEY is "):
        secret.reveal()


def test_a_variable_is_read_and_its_edges_are_trimmed():
    secret = resolve("env:KEY", {"KEY": f" {VALUE.decode()}\n"})
    assert (secret.reveal(), secret.reference, secret.missing) == (VALUE, "env:KEY", False)
    assert secret.why_missing == ""


def test_a_file_is_read_and_its_last_line_break_dropped(tmp_path):
    file = tmp_path / "key"
    file.write_bytes(VALUE + b"\n")
    secret = resolve(f"file:{file}", {})
    assert (secret.reveal(), secret.reference) == (VALUE, f"file:{file}")


def test_a_value_that_is_not_utf8_comes_through_byte_for_byte(tmp_path):
    file = tmp_path / "key"
    file.write_bytes(b"\xff\xfe-key-\xc3")
    assert resolve(f"file:{file}", {}).reveal() == b"\xff\xfe-key-\xc3"


def test_a_file_that_cannot_be_used_is_missing_and_says_why(tmp_path):
    long = tmp_path / "long"
    long.write_bytes(b"x" * 65_537)
    cases = {
        f"file:{tmp_path}/none": "unreadable: no such file or directory",
        f"file:{tmp_path}": "unreadable: is a directory",
        f"file:{long}": "unusable: the file is too long",
        "file:/tmp/\x00": "unreadable: embedded null byte",
    }
    for reference, why in cases.items():
        secret = resolve(reference, {})
        assert (secret.missing, secret.why_missing) == (True, why)


def test_a_value_of_its_own_is_inline_even_with_a_colon_in_it():
    secret = resolve("key-id:key-secret", {})
    assert (secret.inline, secret.missing, secret.reveal()) == (True, False, b"key-id:key-secret")


def test_scrub_blanks_every_live_value_plain_and_escaped():
    odd = Secret('quo"te\\and-ünïcode'.encode())
    plain = Secret(VALUE)
    line = orjson.dumps({"a": VALUE.decode(), "b": 'quo"te\\and-ünïcode', "c": "kept"})
    assert scrub(line) == b'{"a":"***","b":"***","c":"kept"}'
    assert scrub(b"x" + odd.reveal() + b"y" + plain.reveal()) == b"x***y***"


def test_of_two_values_the_longer_goes_first():
    kept = [Secret(b"prefix-of-a-key"), Secret(b"prefix-of-a-key-that-goes-on")]
    assert scrub(b"prefix-of-a-key-that-goes-on") == b"***"
    assert len(kept) == 2


def test_a_short_value_does_not_tear_words_apart():
    short = Secret(b"mock")
    assert scrub(b"a mocking bird") == b"a mocking bird"
    assert not short.missing


def test_values_that_went_away_are_blanked_for_a_while_and_then_forgotten():
    secret = Secret(b"the-key-before-the-reload")
    del secret
    gc.collect()
    assert scrub(b"the-key-before-the-reload") == b"***"
    for number in range(GONE_MAX):
        Secret(b"another-key-%d" % number)
    gc.collect()
    assert scrub(b"the-key-before-the-reload") == b"the-key-before-the-reload"


def test_a_secret_made_while_another_thread_scrubs_is_never_overlooked():
    done = threading.Event()

    def scrub_on() -> None:
        while not done.is_set():
            scrub(b"a line of log")

    thread = threading.Thread(target=scrub_on)
    thread.start()
    kept = []
    try:
        for number in range(2_000):
            value = b"fresh-secret-%06d" % number
            kept.append(Secret(value))
            assert scrub(value) == b"***"
            if len(kept) > 50:
                kept.clear()
    finally:
        done.set()
        thread.join()
