"""Brings genai-prices' data into the state directory, once for each of its versions.

Whoever starts first after an installation waits for a process of half a second; afterwards a file
is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import sys
from pathlib import Path
from typing import Final

from gateway import get_logger

from .genai import Book

log = get_logger("cost")

PACKAGE: Final = "genai-prices"
EXTRACT_S: Final = 30.0
_SCRIPT: Final = Path(__file__).with_name("extract.py")
_ERROR_BYTES_MAX: Final = 500


async def book_in(folder: Path, package: str = PACKAGE) -> Book | None:
    """The installed version's table; None where none is installed, or it cannot be read."""
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        log.warning(
            "prices_missing",
            hint="models without a price in the configuration cost null; "
            "install the extra, weir[prices]",
        )
        return None
    place = folder / f"prices-{version}.json"
    book = _read(place)
    if book is None:
        await _extract(place)
        book = _read(place)
        _tidy(place)
    return book


def _read(place: Path) -> Book | None:
    with contextlib.suppress(OSError, ValueError):  # it is made anew
        return Book(place.read_bytes())
    return None


def _tidy(place: Path) -> None:
    """Take away what other versions left."""
    for old in place.parent.glob("prices-*.json"):
        if old != place:
            old.unlink(missing_ok=True)


async def _extract(place: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # modules beside the script are no packages
        str(_SCRIPT),
        str(place),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(EXTRACT_S):
            _, said = await process.communicate()
    except TimeoutError:
        said = b"it took too long"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        text = said[-_ERROR_BYTES_MAX:].decode("utf-8", "replace")
        log.error("prices_not_extracted", package=PACKAGE, detail=text)
