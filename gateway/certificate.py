"""The callers' TLS: a context of the certificate and key that `[server]` names.

TLS 1.2 is the oldest that is spoken (RFC 8996), and ALPN offers http/1.1 alone (RFC 7301).
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.convert import ConfigErrors, Problem

if TYPE_CHECKING:
    from gateway.config import Server

ALPN: Final = ["http/1.1"]
# A chain with its key takes some KiB; a larger file is neither.
FILE_BYTES_MAX: Final = 1024 * 1024


class _Encrypted(Exception):
    """OpenSSL has asked for a pass phrase."""


def context_of(settings: Server) -> ssl.SSLContext | None:
    """A context of the two files as they are now; None without TLS. Raises `ConfigErrors` that
    name the file at fault.
    """
    if not settings.tls_cert:
        return None
    for name in ("tls_cert", "tls_key"):
        _check(name, getattr(settings, name))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(ALPN)
    cert, key = _expanded(settings.tls_cert), _expanded(settings.tls_key)
    try:
        context.load_cert_chain(cert, key, password=_nobody_to_ask)
    except _Encrypted:
        raise _error(
            "tls_key", f"{key}: the key is encrypted; write it without a pass phrase"
        ) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise _error("tls_key", f"{key} is not the key of the certificate in {cert}") from None
        raise _error(*_blame(settings, error)) from None
    except OSError as error:
        raise _error("tls_cert", f"{cert}: {error.strerror or error}") from None
    return context


def _check(key: str, path: str) -> None:
    """Whether the file can be read at all: OpenSSL's own errors name none."""
    try:
        with _expanded(path).open("rb") as file:
            size = len(file.read(FILE_BYTES_MAX + 1))
    except OSError as error:
        raise _error(key, f"{path}: {error.strerror or error}") from None
    if size > FILE_BYTES_MAX:
        raise _error(key, f"{path}: longer than {FILE_BYTES_MAX} bytes")


def _blame(settings: Server, error: ssl.SSLError) -> tuple[str, str]:
    """Which of the two is at fault, for the errors of OpenSSL that do not say."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(_expanded(settings.tls_cert))
    except ssl.SSLError:
        return "tls_cert", f"{settings.tls_cert}: no certificate in PEM ({error.reason or error})"
    return "tls_key", f"{settings.tls_key}: no usable key in PEM ({error.reason or error})"


def _nobody_to_ask() -> bytes:
    raise _Encrypted


def _expanded(path: str) -> Path:
    return Path(path).expanduser()


def _error(key: str, text: str) -> ConfigErrors:
    return ConfigErrors([Problem(("server", key), text)])
