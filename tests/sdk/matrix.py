"""The README's table of SDKs: `python -m tests.sdk.matrix --write` runs them all and renews it.

Each cell is asked twice, of the scripted provider itself and through the gateway. It is right where
both times came what is wanted, and the same. Where the SDK alone already does something else, the
cell says so with a note's number: that is its own doing. Anything else is ours, and a fault.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from gateway.cli.text import markdown
from gateway.testing import ScriptedUpstream
from tests.sdk.asked import Got, Question
from tests.sdk.called import CALLED
from tests.sdk.formats import PIECES, REASON, TEXT
from tests.sdk.provider import STATUSES, few_certificates, play, scripted_gateway
from tests.sdk.sdks import NODES, SDKS, Sdk
from tests.sdk.shapes import PACE_S

README: Final = Path(__file__).resolve().parents[2] / "README.md"
LOCK: Final = Path(__file__).parent / "package-lock.json"
START: Final = "<!-- generated: sdks -->\n"
END: Final = "<!-- end -->"

RIGHT: Final = "ok"
OURS: Final = "WRONG"
# What an SDK may do instead of what is wanted, and the note that says so; the order numbers them.
NOTES: Final = {
    "alone": "Alone, the SDK takes it for whole. The gateway knows the format's end marker, and "
    "through it the SDK raises.",
    "spurious": "The SDK's own: it raises, though nothing is wrong.",
    "silent": "The SDK's own: it raises nothing, as if the answer were whole.",
    "short": "The SDK's own: it gives less than was sent, and raises nothing.",
    "wordless": "The SDK's own: it raises, but without the provider's words.",
    "late": "The SDK's own: it keeps pieces of the text back.",
    "kind": "The SDK's own: it raises something else than its class for this.",
}


class Want(NamedTuple):
    """What is asked in a cell. scene: as the provider knows it. judge: "" if the answer is what is
    wanted, else a key of NOTES. strict: both sides must give the very same; a cut may be raised in
    different words, since the gateway makes one kind of all. promised: through the gateway it has
    to be right, whatever the SDK does alone. tries: what is held back is late every time, what a
    busy machine delays is not.
    """

    scene: str
    judge: Callable[[Sdk, Got], str]
    streaming: bool = True
    tools: bool = False
    strict: bool = True
    promised: bool = False
    tries: int = 1


def _whole(sdk: Sdk, got: Got) -> str:
    if got.fault is not None:
        return "spurious"
    return "" if got.text == TEXT else "short"


def _pieces(sdk: Sdk, got: Got) -> str:
    return _whole(sdk, got) or ("" if got.pieces == [*PIECES] else "short")


def _paced(sdk: Sdk, got: Got) -> str:
    wrong = _pieces(sdk, got)
    # A half is far from both: what is held back comes at once.
    return wrong or ("" if got.arrived_s[-1] - got.arrived_s[0] > PACE_S / 2 else "late")


def _call(sdk: Sdk, got: Got) -> str:
    if got.fault is not None:
        return "spurious"
    return "" if got.calls == [CALLED] else "short"


def _error(status: int) -> Callable[[Sdk, Got], str]:
    def judge(sdk: Sdk, got: Got) -> str:
        if got.fault is None:
            return "silent"
        if sdk.error(status) not in got.kinds or got.fault.status != status:
            return "kind"
        return "" if REASON in got.fault.text else "wordless"

    return judge


def _cut(sdk: Sdk, got: Got) -> str:
    if got.fault is None:
        return "silent"
    if got.pieces != [*PIECES[:2]]:
        return "late"
    return "" if sdk.cut[0] in got.kinds else "kind"


def _failing(sdk: Sdk, got: Got) -> str:
    if got.fault is None:
        return "silent"
    if got.pieces != [*PIECES[:2]]:
        return "late"
    return "" if REASON in got.fault.text else "wordless"


COLUMNS: Final[dict[str, tuple[Want, ...]]] = {
    "text": (Want("answers", _whole, streaming=False),),
    "stream": (Want("paced", _paced, tries=5),),
    "tools, streamed": (Want("called", _call, tools=True),),
    "errors": tuple(
        Want(f"{status}", _error(status), streaming)
        for status in STATUSES
        for streaming in (False, True)
    ),
    "cut": tuple(Want(scene, _cut, strict=False) for scene in ("fin", "torn", "reset")),
    "plain": (Want("plain", _pieces),),
    "`: ping`": (Want("pinged", _pieces),),
    "no `[DONE]`": (Want("unended", _pieces),),
    "CRLF": (Want("crlf", _pieces),),
    "`data:` tight": (Want("tight", _pieces),),
    "split bytes": (Want("split", _pieces),),
    "error in it": (Want("failing", _failing),),
    "cut, no framing": (Want("unframed", _cut, strict=False, promised=True),),
}


def cells(sdk: Sdk, alone: str, gateway: str) -> dict[str, str]:
    """Run an SDK and give its row, by column. alone, gateway: URLs of the provider and of us."""
    row = {}
    for column, wants in COLUMNS.items():
        found = [cell(sdk, want, sdk.alone(alone), sdk.base(gateway)) for want in wants]
        wrong = sorted({one for one in found if one != RIGHT})
        row[column] = " ".join(wrong) or RIGHT
    return row


def cell(sdk: Sdk, want: Want, alone: str, through: str) -> str:
    """Ask once of each; both are base URLs, as the SDK wants them."""
    direct = _asked(sdk, want, alone)
    ours = _asked(sdk, want, through)
    verdict, verdict_of_ours = want.judge(sdk, direct), want.judge(sdk, ours)
    if want.strict and _told(direct) != _told(ours):
        return f"{OURS}: {want.scene}: alone {_told(direct)}, through us {_told(ours)}"
    if verdict == verdict_of_ours and not (want.promised and verdict):
        return RIGHT if not verdict else mark(verdict)
    if verdict == "silent" and not verdict_of_ours:
        return mark("alone")
    return f"{OURS}: {want.scene}: alone {verdict or RIGHT}, through us {verdict_of_ours or RIGHT}"


def _asked(sdk: Sdk, want: Want, base: str) -> Got:
    model = f"scene-{want.scene}"
    question = Question(base, model, streaming=want.streaming, tools=want.tools)
    got = sdk.ask(question)
    for _ in range(want.tries - 1):
        if not want.judge(sdk, got):
            break
        got = sdk.ask(question)
    return got


def _told(got: Got) -> Any:
    status = None if got.fault is None else got.fault.status
    return got.pieces, got.calls, got.kinds, status


def mark(note: str) -> str:
    """Give what stands in a cell for a note."""
    number = [*NOTES].index(note) + 1
    return f"{RIGHT if note == 'alone' else 'SDK'} ({number})"


# -- the table -------------------------------------------------------------------------------------


def title(sdk: Sdk) -> str:
    """Name an SDK, its locked version and the way it is used."""
    return f"`{sdk.name}` {locked(sdk)} ({sdk.registry}), {sdk.way}"


def locked(sdk: Sdk) -> str:
    """Give the version that the tests are made for."""
    if sdk.registry == "PyPI":
        return version(sdk.name)
    packages = orjson.loads(LOCK.read_bytes())["packages"]
    return str(packages[f"node_modules/{sdk.name}"]["version"])


def line(sdk: Sdk, row: Mapping[str, str]) -> str:
    """Give a row as it stands in the README."""
    return markdown(("SDK", *COLUMNS), [(title(sdk), *row.values())]).splitlines()[-1]


def block(rows: Sequence[str]) -> str:
    """Give what stands between the marks: the table, and the notes that it needs."""
    head = markdown(("SDK", *COLUMNS), []).splitlines()
    told = [
        f"({number}) {words}"
        for number, words in enumerate(NOTES.values(), 1)
        if any(f"({number})" in row for row in rows)
    ]
    # A hard line break between two notes is a backslash.
    return "\n".join([*head, *rows, "", "\\\n".join(told), ""])


def in_readme(readme: str) -> str:
    """Give what stands between the marks now."""
    return readme.partition(START)[2].partition(END)[0]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.sdk.matrix", description=__doc__)
    parser.add_argument("--write", action="store_true", help="renew the table of README.md")
    writes = parser.parse_args().write
    try:
        with (
            few_certificates(),
            ScriptedUpstream(play) as upstream,
            scripted_gateway(upstream) as gateway,
        ):
            rows = [line(sdk, cells(sdk, upstream.url, gateway.url)) for sdk in SDKS]
    finally:
        for node in NODES:
            node.close()
    made = block(rows)
    print(made)
    if OURS in made:
        raise SystemExit("something is wrong because of us; nothing was written")
    if writes:
        readme = README.read_text(encoding="utf-8")
        README.write_text(readme.replace(START + in_readme(readme), START + made), encoding="utf-8")


if __name__ == "__main__":
    main()
