"""An identity provider as DiracX asks for one: OpenID Connect's discovery, codes with PKCE, signed id tokens.

A stand-in for a community's (IAM, Check-in): whoever comes is who the test says, without a password. It is a process of
its own, so that tests that fork have no thread of it: `python identity_provider.py` prints its address and serves.
"""

import base64
import hashlib
import json
import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import rsa

from telemetry.clock import SystemClock

CLIENT_ID = "idp-client"
TOKEN_SECONDS = 600


def sit_down(url: str, subject: str) -> None:
    """From now on *subject* is the person at the browser."""
    requests.put(f"{url}/person", data=subject, timeout=20).raise_for_status()


class IdentityProvider:
    """Knows who is at the browser, and which codes it has given out."""

    def __init__(self, url: str) -> None:
        self.url = url
        #: Of the person at the browser.
        self.subject = ""
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._codes: dict[str, dict[str, str]] = {}

    def metadata(self) -> dict[str, Any]:
        """The discovery document."""
        names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        return {"issuer": self.url, **{name: f"{self.url}/{path}" for name, path in names.items()}}

    def jwks(self) -> dict[str, Any]:
        """The public key."""
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        return {"keys": [{**key, "kid": "1", "alg": "RS256", "use": "sig"}]}

    def authorize(self, query: dict[str, str]) -> str:
        """Where the browser goes, with a code for who sits there."""
        code = secrets.token_hex(16)
        self._codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def redeem(self, form: dict[str, str]) -> dict[str, Any] | None:
        """Tokens for a code, for whoever can show what its challenge was made of; None for anybody else."""
        asked = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if asked is None or asked["code_challenge"] != challenge or asked["redirect_uri"] != form.get("redirect_uri"):
            return None
        now = SystemClock().utc_ns() // 10**9
        claims = {"iss": self.url, "aud": CLIENT_ID, "sub": self.subject, "iat": now, "exp": now + TOKEN_SECONDS}
        token = jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": "1"})
        return {"id_token": token, "access_token": "unused", "token_type": "Bearer", "expires_in": TOKEN_SECONDS}


class Server(ThreadingHTTPServer):
    """One that listens on loopback."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.provider = IdentityProvider(f"http://127.0.0.1:{self.server_port}")


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if address.path == "/authorize":
            self.send_response(302)
            self.send_header("Location", self.server.provider.authorize(query))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif address.path == "/jwks":
            self._answer(200, self.server.provider.jwks())
        else:
            self._answer(200, self.server.provider.metadata())

    def do_PUT(self) -> None:
        self.server.provider.subject = self._body()
        self._answer(200, {})

    def do_POST(self) -> None:
        text = self._body()
        found = self.server.provider.redeem({name: values[0] for name, values in parse_qs(text).items()})
        self._answer(200 if found else 400, found or {"error": "invalid_grant"})

    def _body(self) -> str:
        return self.rfile.read(int(self.headers["Content-Length"])).decode()

    def _answer(self, code: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


if __name__ == "__main__":
    served = Server()
    print(served.provider.url, flush=True)
    served.serve_forever()
