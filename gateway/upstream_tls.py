"""TLS towards upstreams: whose certificates we believe, and which we show of our own.

A context is made of three paths and kept by `gateway.pool`; the same is tried when the
configuration is read, so that a wrong file is told at start and not by the first request.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# Said in the handshake, so that no upstream answers in HTTP/2.
ALPN: Final = ["http/1.1"]


def context_of(
    ca_file: str | None, client_cert: str | None, client_key: str | None
) -> ssl.SSLContext:
    """A client's context. OSError (also `ssl.SSLError`) where a file cannot be used.

    ca_file: PEM, in the place of the system's store. client_cert, client_key: PEM; the key may
    stand in the certificate's file.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(ALPN)
    if client_cert is not None:
        _show(context, client_cert, client_key)
    return context


def faults(
    ca_file: str | None, client_cert: str | None, client_key: str | None
) -> Iterator[tuple[str, str]]:
    """What is wrong with a provider's certificates, by key."""
    given = {"ca_file": ca_file, "client_cert": client_cert, "client_key": client_key}
    missing = [key for key, path in given.items() if path is not None and not Path(path).is_file()]
    for key in missing:
        yield key, f"no such file: {given[key]}"
    if client_key is not None and client_cert is None:
        yield "client_key", "has no client_cert beside it; set that too, or leave the key out"
    if ca_file is not None and "ca_file" not in missing:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
        except OSError as error:
            yield "ca_file", f"holds no certificates in PEM: {_reason(error)}"
    if client_cert is not None and not {"client_cert", "client_key"} & {*missing}:
        try:
            _show(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), client_cert, client_key)
        except OSError as error:
            text = "wanted a certificate in PEM with its own key, which is not encrypted"
            yield "client_cert", f"{text}: {_reason(error)}"


def _show(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    # Without a password of ours, OpenSSL would ask for that of an encrypted key at the terminal.
    context.load_cert_chain(cert, key, password=lambda: "")


def _reason(error: OSError) -> str:
    reason = getattr(error, "reason", None) or error.strerror or str(error)
    return str(reason).lower().replace("_", " ")
