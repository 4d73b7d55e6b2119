"""What the stories share: their sizes, and a certificate."""

from __future__ import annotations

import os
import ssl

import pytest
import trustme

from gateway.testing import Tls
from tests.sizes import FULL, SMALL, Sizes


@pytest.fixture(scope="session")
def sizes(request: pytest.FixtureRequest) -> Sizes:
    """Give the sizes to use: full with `--battery` or WEIR_BATTERY=1."""
    full = request.config.getoption("--battery") or os.environ.get("WEIR_BATTERY") == "1"
    return FULL if full else SMALL


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """Give an upstream's certificate for localhost, with the authority to trust."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    ca_file = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    return Tls(context, str(ca_file))
