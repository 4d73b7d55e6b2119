"""What each shape lets through, worked out anew from the log of all admissions, in fractions."""

from __future__ import annotations

from fractions import Fraction

Log = list[tuple[int, int]]  # when, in microseconds, and how much


def fits(kind: str, amount: int, window: int, log: Log, now: int, cost: int) -> bool:
    return MODELS[kind](amount, window, log, now, cost)


def bucket(amount: int, window: int, log: Log, now: int, cost: int) -> bool:
    """From any admission on, no more than a limit and what has drained since."""
    rate = Fraction(amount, window)
    taken = cost
    for at, some in reversed([*log, (now, 0)]):
        taken += some
        if taken > amount + rate * (now - at):
            return False
    return True


def fixed(amount: int, window: int, log: Log, now: int, cost: int) -> bool:
    """A window is begun by who comes after the last one is over."""
    start, used = None, 0
    for at, some in log:
        if start is None or at >= start + window:
            start, used = at, 0
        used += some
    if start is None or now >= start + window:
        used = 0
    return used + cost <= amount


def sliding(amount: int, window: int, log: Log, now: int, cost: int) -> bool:
    """Windows follow on each other for as long as the last two hold anything."""
    windows: dict[int, int] = {}
    start = None
    for at, some in log:
        start = _begun(windows, start, window, at)
        windows[start] = windows.get(start, 0) + some
    start = _begun(windows, start, window, now)
    before = windows.get(start - window, 0)
    weight = Fraction(start + window - now, window)
    return windows.get(start, 0) + before * weight + cost <= amount


def _begun(windows: dict[int, int], start: int | None, window: int, at: int) -> int:
    """The start of the window that a time is in."""
    if start is None:
        return at
    present = start + (at - start) // window * window
    return present if present in windows or present - window in windows else at


MODELS = {"bucket": bucket, "fixed": fixed, "sliding": sliding}
