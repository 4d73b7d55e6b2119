"""The callers' certificate: what is spoken with it, and what is said of one that cannot be used."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.certificate import FILE_BYTES_MAX, context_of
from gateway.config import Server
from gateway.convert import ConfigErrors


@pytest.fixture(scope="module")
def issued() -> trustme.LeafCert:
    return trustme.CA().issue_cert("localhost")


@pytest.fixture
def files(issued, tmp_path) -> tuple[Path, Path]:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return cert, key


def fault(cert: Path, key: Path) -> str:
    with pytest.raises(ConfigErrors) as caught:
        context_of(Server(tls_cert=str(cert), tls_key=str(key)))
    (problem,) = caught.value.problems
    return str(problem)


def test_without_a_certificate_there_is_no_tls():
    assert context_of(Server()) is None


def test_tls_1_2_is_the_oldest_that_is_spoken(files):
    context = context_of(Server(tls_cert=str(files[0]), tls_key=str(files[1])))
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_file_that_is_missing_is_named(files, tmp_path):
    cert, key = files
    nowhere = tmp_path / "no.pem"
    assert fault(nowhere, key) == f"[server] tls_cert: {nowhere}: No such file or directory"
    assert fault(cert, nowhere) == f"[server] tls_key: {nowhere}: No such file or directory"


def test_a_key_of_another_certificate_is_named(files):
    cert, key = files
    key.write_bytes(trustme.CA().issue_cert("localhost").private_key_pem.bytes())
    assert (
        fault(cert, key) == f"[server] tls_key: {key} is not the key of the certificate in {cert}"
    )


def test_a_file_that_holds_something_else_is_named(files):
    cert, key = files
    good = cert.read_bytes()
    cert.write_text("none")
    assert fault(cert, key).startswith(f"[server] tls_cert: {cert}: no certificate in PEM")
    cert.write_bytes(good)
    key.write_text("none")
    assert fault(cert, key).startswith(f"[server] tls_key: {key}: no usable key in PEM")
    key.write_bytes(b"x" * (FILE_BYTES_MAX + 1))
    assert "longer than" in fault(cert, key)


# OpenSSL would ask on the terminal.
def test_an_encrypted_key_is_refused_and_nobody_is_asked(files, issued):
    cert, key = files
    loaded = load_pem_private_key(issued.private_key_pem.bytes(), None)
    key.write_bytes(
        loaded.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pass phrase")
        )
    )
    assert fault(cert, key).startswith(f"[server] tls_key: {key}: the key is encrypted")
