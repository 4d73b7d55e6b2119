"""What must be seen: the checks that rows of the table are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from gateway.testing import RawAnswer, Request
from gateway.testing.wire import values
from tests.whole.musts import Check, Must, Seen

# A line break that is none of HTTP's, and a line that goes on the one before it.
BARE_CR: Final = re.compile(rb"\r(?!\n)")
FOLD: Final = re.compile(rb"\r\n[ \t]")


def group(section: str, says: str, check: Check, sends: dict[str, bytes]) -> list[Must]:
    """Make rows of one requirement that differ in what the caller sends."""
    return [Must(name, section, says, check, raw) for name, raw in sends.items()]


# -- both sides ------------------------------------------------------------------------------------


def every(*checks: Check) -> Check:
    return lambda seen: all(check(seen) for check in checks)


def either(*checks: Check) -> Check:
    return lambda seen: any(check(seen) for check in checks)


def closed(seen: Seen) -> bool:
    return seen.is_closed


# -- what the caller sees --------------------------------------------------------------------------


def refused(*statuses: int) -> Check:
    """Refuse with one of these, and let nobody have it whole."""
    return lambda seen: seen.status in statuses and not any(one.is_whole for one in seen.asked)


def served(seen: Seen) -> bool:
    return seen.is_served


def down(good: Callable[[RawAnswer], bool]) -> Check:
    """Hold the first answer, which is whole, against something."""
    return lambda seen: bool(seen.answers) and seen.answers[0].is_complete and good(seen.answers[0])


def bad_gateway(seen: Seen) -> bool:
    return seen.status == 502 and seen.answers[0].is_complete


def cut(seen: Seen) -> bool:
    """Show the caller that the answer is not whole, or give a 502."""
    return bad_gateway(seen) or (bool(seen.answers) and not seen.answers[0].is_complete)


def silent(seen: Seen) -> bool:
    """Send nothing behind the head: what follows on the connection is in step."""
    return seen.rest == b"" and bool(seen.answers) and all(one.is_complete for one in seen.answers)


def lacks_down(*names: bytes) -> Check:
    return lambda seen: bool(seen.answers) and not any(map(seen.answers[0].get, names))


def has_down(name: bytes, *wanted: bytes) -> Check:
    """Show these values of a field, in this order."""
    return down(lambda answer: values(answer.fields, name) == list(wanted))


def says_down(body: bytes, status: int = 200) -> Check:
    return down(lambda answer: (answer.status, answer.body) == (status, body))


def no_bare_cr_down(seen: Seen) -> bool:
    return bool(seen.answers) and BARE_CR.search(seen.answers[0].head) is None


def no_fold_down(seen: Seen) -> bool:
    return bool(seen.answers) and FOLD.search(seen.answers[0].head) is None


def no_interim(seen: Seen) -> bool:
    return bool(seen.answers) and not seen.interim


# -- what the upstream sees ------------------------------------------------------------------------


def up(good: Callable[[Request], bool]) -> Check:
    """Let one whole request arrive that holds against something, and serve it."""
    return lambda seen: (
        seen.is_served and len(seen.asked) == 1 and seen.asked[0].is_whole and good(seen.asked[0])
    )


def body_up(body: bytes = b"hello") -> Check:
    return up(lambda request: request.body == body)


def has_up(name: bytes, *wanted: bytes) -> Check:
    return up(lambda request: values(request.fields, name) == list(wanted))


def target_up(end: bytes) -> Check:
    return up(lambda request: request.target.endswith(end))


def lacks_up(*names: bytes) -> Check:
    """Let nothing arrive with one of these fields."""
    return lambda seen: not any(request.get(name) for request in seen.asked for name in names)


def at_most_one(seen: Seen) -> bool:
    return len(seen.asked) <= 1


def exactly_one(seen: Seen) -> bool:
    return len(seen.asked) == 1


def no_bare_cr_up(seen: Seen) -> bool:
    return not any(BARE_CR.search(request.head) for request in seen.asked)


def no_fold_up(seen: Seen) -> bool:
    return not any(FOLD.search(request.head) for request in seen.asked)


def framed_once_up(seen: Seen) -> bool:
    """Let nothing arrive with a length and a coding, or with two of one."""
    return all(len(_framing(request)) <= 1 for request in seen.asked)


def upgrade_is_listed(fields: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether Upgrade, if it is there, is named by Connection."""
    have = list(fields)
    listed = b",".join(values(have, b"connection")).lower()
    return not values(have, b"upgrade") or b"upgrade" in listed


def _framing(request: Request) -> list[bytes]:
    names = (b"content-length", b"transfer-encoding")
    return [value for name in names for value in values(request.fields, name)]
