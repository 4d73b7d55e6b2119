"""An issuer of tokens: keys, a server that lists them and can misbehave, and forged tokens."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER = "https://issuer.example"
AUDIENCE = "weir"
_CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


class SigningKey:
    """A private key, and what of it is published."""

    def __init__(self, alg: str, kid: str = "one", bits: int = 2048, private: Any = None) -> None:
        self.alg = alg
        self.kid = kid
        self.private = private
        if private is not None:
            return
        if alg == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        elif alg in _CURVES:
            self.private = ec.generate_private_key(_CURVES[alg])
        else:
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=bits)

    @property
    def jwk(self) -> dict[str, Any]:
        public = jwt.get_algorithm_by_name(self.alg).to_jwk(self.private.public_key(), as_dict=True)
        members = {name: value for name, value in public.items() if name != "key_ops"}
        return {**members, "kid": self.kid, "use": "sig", "alg": self.alg}

    @property
    def pem(self) -> bytes:
        public: bytes = self.private.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        return public

    def token(self, header: Mapping[str, Any] | None = None, **claims: Any) -> bytes:
        """Sign claims; one that is None is left out, and so is such a header."""
        text = _json({"alg": self.alg, "typ": "JWT", "kid": self.kid, **(header or {})})
        return self.signed(text, _json(claims_of(**claims)))

    def signed(self, header: bytes, claims: bytes) -> bytes:
        """Sign any bytes."""
        text = encoded(header) + b"." + encoded(claims)
        signature = jwt.get_algorithm_by_name(self.alg).sign(text, self.private)
        return text + b"." + encoded(signature)


def claims_of(**claims: Any) -> dict[str, Any]:
    """Give the claims of a good token, changed."""
    now = int(time.time())
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 600}
    return {**good, **claims}


def encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def jwks(*keys: SigningKey) -> bytes:
    return json.dumps({"keys": [key.jwk for key in keys]}).encode()


def _json(members: Mapping[str, Any]) -> bytes:
    there = {name: value for name, value in members.items() if value is not None}
    return json.dumps(there).encode()


class Server:
    """A real server of a key set. body, status, delay_s: what it says, and how late."""

    def __init__(self, body: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.body = body
        self.status = 200
        self.delay_s = 0.0
        self.fields: dict[str, str] = {"Content-Type": "application/json"}
        self.asked = 0
        self.asked_at = 0.0
        self.port = 0
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._runner: web.AppRunner | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.begin()

    @property
    def url(self) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://localhost:{self.port}/jwks.json"

    def begin(self) -> None:
        """Listen, on the port that it had."""
        asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result(10)

    def die(self) -> None:
        """Stop listening; its connections are gone."""
        if self._runner is not None:
            asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
            self._runner = None

    def close(self) -> None:
        self.die()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _begin(self) -> None:
        app = web.Application()
        app.router.add_get("/{any:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "localhost", self.port, ssl_context=self._tls)
        await site.start()
        assert site._server is not None
        (self.port, *_) = [one.getsockname()[1] for one in site._server.sockets]  # type: ignore[attr-defined]

    async def _serve(self, request: web.Request) -> web.Response:
        self.asked += 1
        self.asked_at = time.monotonic()
        await asyncio.sleep(self.delay_s)
        return web.Response(status=self.status, body=self.body, headers=self.fields)


@contextlib.contextmanager
def served(*keys: SigningKey, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(jwks(*keys), tls)
    try:
        yield server
    finally:
        server.close()
