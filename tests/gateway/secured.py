"""A gateway's certificate and a caller over TLS, for tests of the doors."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import trustme

from gateway.testing import RunningGateway, ScriptedUpstream

GET = b"GET /openai/v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def written(authority: trustme.CA, folder: Path, name: str = "localhost") -> dict[str, str]:
    """Put a certificate and its key into these files, and give the settings that name them."""
    made = authority.issue_cert(name)
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    key.write_bytes(made.private_key_pem.bytes())
    return {"tls_cert": str(cert), "tls_key": str(key)}


def config(upstream: ScriptedUpstream, server: dict[str, Any], **limits: str) -> dict[str, Any]:
    return {"providers": {"openai": upstream.provider()}, "server": server, "limits": limits}


def secured(
    gateway: RunningGateway, authority: trustme.CA, name: str = "localhost", before: bytes = b""
) -> ssl.SSLSocket:
    """Connect over TLS. before: sent in the clear."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    sock = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
    sock.sendall(before)
    return context.wrap_socket(sock, server_hostname=name, suppress_ragged_eofs=False)


def everything(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data
