"""Certificates towards upstreams: which files can be used, and what a handshake makes of them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from gateway import UpstreamFault
from gateway.clock import Clock
from gateway.origins import Origin
from gateway.pool import Pool
from gateway.testing import ScriptedUpstream, Tls, answers, attempt_of, exchange
from gateway.upstream_tls import context_of, faults
from tests.gateway.ends import limits, run

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Files:
    """An authority, and what it issued to a client, as files."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.authority = trustme.CA()
        issued = self.authority.issue_cert("gateway.example")
        self.ca, self.cert, self.key, self.both, self.locked = (
            str(folder / f"{name}.pem") for name in ("ca", "cert", "key", "both", "locked")
        )
        self.authority.cert_pem.write_to_path(self.ca)
        issued.cert_chain_pems[0].write_to_path(self.cert)
        issued.private_key_pem.write_to_path(self.key)
        issued.private_key_and_cert_chain_pem.write_to_path(self.both)
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
        locked = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"sesame"),
        )
        Path(self.locked).write_bytes(locked)


@pytest.fixture
def files(tmp_path) -> Files:
    return Files(tmp_path / "ours")


@pytest.fixture
def others(tmp_path) -> Files:
    return Files(tmp_path / "theirs")


# -- files -----------------------------------------------------------------------------------------


def test_files_that_fit_are_without_fault(files):
    assert list(faults(None, None, None)) == []
    assert list(faults(files.ca, None, None)) == []
    assert list(faults(files.ca, files.cert, files.key)) == []
    assert list(faults(None, files.both, None)) == []


def test_files_that_do_not_name_their_key(files, others, tmp_path):
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    cases = {
        (str(empty), None, None): "ca_file: holds no certificates in PEM",
        (files.key, None, None): "ca_file: holds no certificates in PEM",
        (None, None, files.key): "client_key: has no client_cert beside it",
        (None, files.cert, others.key): "client_cert: wanted a certificate in PEM with its own key",
        (None, files.cert, None): "client_cert: wanted a certificate in PEM with its own key",
        (None, files.cert, files.locked): "client_cert: wanted a certificate in PEM with its own",
        (None, str(empty), files.key): "client_cert: wanted a certificate in PEM with its own key",
    }
    for given, expected in cases.items():
        found = [f"{key}: {text}" for key, text in faults(*given)]
        assert len(found) == 1, given
        assert found[0].startswith(expected)


def test_every_missing_file_is_named(files):
    found = dict(faults("/no/ca", "/no/cert", "/no/key"))
    assert found == {
        "ca_file": "no such file: /no/ca",
        "client_cert": "no such file: /no/cert",
        "client_key": "no such file: /no/key",
    }


def test_a_key_that_is_encrypted_is_not_asked_about_at_the_terminal(files):
    with pytest.raises(ssl.SSLError):
        context_of(None, files.cert, files.locked)


# -- handshakes ------------------------------------------------------------------------------------


def wanting(files: Files) -> Tls:
    """Give an upstream's TLS that wants a client's certificate of this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # In TLS 1.3 a client hears of a refusal only behind its handshake.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(files.ca)
    files.authority.issue_cert("localhost").configure_cert(context)
    return Tls(context, files.ca)


async def asked(pool: Pool, place: Origin) -> int:
    """Ask the upstream for something; give the status."""
    attempt = attempt_of(exchange())
    attempt.connect_timeout_ns = 5_000_000_000
    ours = await pool.connect(place, attempt, 0)
    answer = ours.ask(REQUEST, is_head=False, uploading=False)
    while not answer.ended and answer.fault is None:
        await answer.news()
    ours.drop()
    return answer.status


@contextlib.asynccontextmanager
async def pooled():
    loop = asyncio.get_running_loop()
    clock = Clock(loop)
    pool = Pool(loop, clock, limits())
    try:
        yield pool
    finally:
        pool.close()
        clock.close()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("is_one_file", [True, False])
def test_an_upstream_that_wants_a_certificate_gets_ours(files, is_one_file):
    async def story() -> None:
        cert, key = (files.both, None) if is_one_file else (files.cert, files.key)
        place = Origin(
            "https", "localhost", upstream.port, ca_file=files.ca, client_cert=cert, client_key=key
        )
        async with pooled() as pool:
            assert await asked(pool, place) == 200

    with ScriptedUpstream(answers(), tls=wanting(files)) as upstream:
        run(story())


def test_without_one_or_with_a_strangers_it_is_not_reached(files, others):
    async def story() -> None:
        for cert, key in ((None, None), (others.cert, others.key)):
            place = Origin(
                "https",
                "localhost",
                upstream.port,
                ca_file=files.ca,
                client_cert=cert,
                client_key=key,
            )
            async with pooled() as pool:
                with pytest.raises(UpstreamFault) as caught:
                    await asked(pool, place)
                assert caught.value.reached is False

    with ScriptedUpstream(answers(), tls=wanting(files)) as upstream:
        run(story())
        assert upstream.requests == []


def test_connections_with_another_certificate_are_not_shared(files, others):
    plain = Origin("http", "a", client_cert=files.cert, client_key=files.key)
    keys = {
        Origin("https", "a").key,
        Origin("https", "a", client_cert=files.both).key,
        Origin("https", "a", client_cert=files.cert, client_key=files.key).key,
        Origin("https", "a", client_cert=others.cert, client_key=others.key).key,
    }
    assert len(keys) == 4
    assert (plain.client_cert, plain.client_key, plain.key) == (None, None, "http://a:80")


def test_a_renewed_pool_reads_the_files_anew(files, others):
    """An authority may be replaced under the same path; a reload is to take it."""

    async def story() -> None:
        place = Origin("https", "localhost", upstream.port, ca_file=others.ca)
        async with pooled() as pool:
            with pytest.raises(UpstreamFault):
                await asked(pool, place)
            shutil.copyfile(files.ca, others.ca)
            with pytest.raises(UpstreamFault):
                await asked(pool, place)  # nobody reads a file for each connection
            pool.renew(pool.limits)
            assert await asked(pool, place) == 200

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files.authority.issue_cert("localhost").configure_cert(context)
    with ScriptedUpstream(answers(), tls=Tls(context, files.ca)) as upstream:
        run(story())
