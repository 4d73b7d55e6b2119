"""The table of what RFCs demand, as a page: `python -m tests.whole.must_report` writes it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.whole import controls, must_answers, must_requests
from tests.whole.musts import Must, Seen, of_control, of_gateway

REPORT: Final = Path(__file__).resolve().parents[2] / "docs" / "musts.md"
ROWS: Final[tuple[Must, ...]] = (*must_requests.ROWS, *must_answers.ROWS)

# What the gateway does not keep, and why. At most three, and none that nginx keeps.
EXCEPTIONS: Final[dict[str, str]] = {
    "via_upward": "What goes up is what the caller sent: providers' own filters judge by Via, and "
    "no loop can form, because a provider is named in the configuration.",
    "max_forwards_of_options": "To its callers the gateway is the origin; neither provider nor "
    "SDK counts hops.",
}

HEAD: Final = """\
# What the RFCs demand

`python -m tests.whole.must_report` writes this page, and `tests/whole/test_musts.py` holds it.
Each row is a requirement of RFC 9110 or RFC 9112 on what an HTTP/1.1 gateway does, told over raw
sockets of Weir and, as controls, of nginx (`proxy_pass` with `proxy_http_version 1.1`, buffering
off) and of HAProxy in `mode http`, each as it comes. A control's no may be a choice of its
configuration. What is asked of proxies and not of gateways, to forward interim answers, is no row:
the README says that they are dropped.

"""
COLUMNS: Final = ("requirement", "RFC", "name", "Weir", "nginx", "HAProxy")


def report(columns: list[dict[str, bool]]) -> str:
    """columns: what Weir, nginx and HAProxy keep, by the row's name."""
    kept = [sum(column.values()) for column in columns]
    nginx, haproxy = controls.nginx_version(), controls.haproxy_version()
    text = f"{HEAD}Kept of {len(ROWS)}: Weir {kept[0]}, {nginx} {kept[1]}, {haproxy} {kept[2]}.\n\n"
    text += _line(COLUMNS) + _line(["---"] * len(COLUMNS))
    for row in ROWS:
        words = ["yes" if column[row.name] else "no" for column in columns]
        if row.name in EXCEPTIONS:
            words[0] += " (1)"
        text += _line([row.says, row.section, f"`{row.name}`", *words])
    text += "\n(1) Exceptions:\n\n"
    return text + "".join(f"- `{name}`: {reason}\n" for name, reason in EXCEPTIONS.items())


def _line(words: Iterable[str]) -> str:
    return f"| {' | '.join(words)} |\n"


def judged(seen: dict[str, Seen]) -> dict[str, bool]:
    return {row.name: row.check(seen[row.name]) for row in ROWS}


def columns() -> list[dict[str, bool]]:
    """Tell all of all three."""
    with ThreadPoolExecutor() as pool:
        told = [pool.submit(of_gateway, ROWS)]
        told += [pool.submit(of_control, ROWS, start) for start in controls.PROXIES]
        return [judged(one.result()) for one in told]


def main() -> int:
    try:
        REPORT.write_text(report(columns()))
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
