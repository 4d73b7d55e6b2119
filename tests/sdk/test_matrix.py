"""The README's table of SDKs is what they do: alone with the provider, and through the gateway."""

from __future__ import annotations

import pytest

from gateway.testing import RunningGateway, ScriptedUpstream, Visit, streams
from tests.sdk import matrix
from tests.sdk.formats import CHAT
from tests.sdk.provider import play
from tests.sdk.sdks import SDKS, Sdk

CHAT_SDK = SDKS[0]
RENEW = "python -m tests.sdk.matrix --write"


def rows() -> list[str]:
    """Give the rows of the table as it stands."""
    readme = matrix.README.read_text(encoding="utf-8")
    return [line for line in matrix.in_readme(readme).splitlines()[2:] if line.startswith("|")]


def test_each_cell_is_right_or_the_sdks_own_and_the_readme_says_so(
    sdk: Sdk, gateway: RunningGateway, upstream: ScriptedUpstream
):
    row = matrix.cells(sdk, upstream.url, gateway.url)

    assert [cell for cell in row.values() if matrix.OURS in cell] == []
    assert matrix.line(sdk, row) in rows(), f"renew the table: {RENEW}"


def test_the_readme_has_a_row_for_each_sdk_and_the_notes_that_they_need():
    readme = matrix.README.read_text(encoding="utf-8")

    assert [row.split(" | ")[0] for row in rows()] == [f"| {matrix.title(sdk)}" for sdk in SDKS]
    assert matrix.in_readme(readme) == matrix.block(rows()), f"renew the table: {RENEW}"


@pytest.mark.parametrize("column", [*matrix.COLUMNS])
def test_what_the_gateway_spoils_is_ours_in_every_column(column):
    """A server stands where the gateway stands, and is none: two events, whatever is asked."""
    wants = matrix.COLUMNS[column]
    with ScriptedUpstream(play) as good, ScriptedUpstream(streams(CHAT.events[:2])) as bad:
        found = [matrix.cell(CHAT_SDK, want, f"{good.url}/v1", f"{bad.url}/v1") for want in wants]

    assert [cell for cell in found if matrix.OURS not in cell] == []


@pytest.mark.parametrize(
    ("column", "events", "note"),
    [
        ("plain", CHAT.events[:2], "short"),
        ("plain", (*CHAT.events[:2], b"data: no JSON\n\n"), "spurious"),
        ("error in it", CHAT.events, "silent"),
        ("error in it", (*CHAT.events[:3], b'data: {"error": {"message": "?"}}\n\n'), "wordless"),
        ("error in it", (*CHAT.events[:2], CHAT.frame), "late"),
        ("stream", CHAT.events, "late"),
        ("cut", CHAT.events, "silent"),
        ("cut", (*CHAT.events[:3], CHAT.frame), "kind"),
        ("errors", CHAT.events, "silent"),
    ],
)
def test_what_an_sdk_does_by_itself_is_its_own(column, events, note):
    want = matrix.COLUMNS[column][-1]
    with ScriptedUpstream(streams(events)) as upstream:
        found = matrix.cell(CHAT_SDK, want, f"{upstream.url}/v1", f"{upstream.url}/v1")

    assert found == matrix.mark(note)


def test_what_only_the_gateway_makes_right_has_a_note():
    def cut(visit: Visit) -> None:
        visit.read()
        visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        visit.send(b"Transfer-Encoding: chunked\r\n\r\n")
        for event in CHAT.events[: CHAT.shown]:
            visit.send(b"%x\r\n%b\r\n" % (len(event), event))
        visit.fin()

    (want,) = matrix.COLUMNS["cut, no framing"]
    with ScriptedUpstream(play) as alone, ScriptedUpstream(cut) as framed:
        found = matrix.cell(CHAT_SDK, want, f"{alone.url}/v1", f"{framed.url}/v1")

    assert found == matrix.mark("alone")
