"""Makers of tokens: with keys of their own, honest and not."""

import base64
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.unit.frontend.fakes import FakeClock

ISSUER, AUDIENCE = "https://issuer.example", "perdure"
SECOND_NS = 1_000_000_000
NOW_S = 1_800_000_000
# Made once: an RSA key takes a while.
RSA, OTHER_RSA = (rsa.generate_private_key(public_exponent=65_537, key_size=2_048) for _ in range(2))
EC = ec.generate_private_key(ec.SECP256R1())


def jwk(private: Any, kid: str, **changes: object) -> dict[str, object]:
    """The public half as an entry of a key set."""
    algorithm: Any = (
        jwt.algorithms.RSAAlgorithm if isinstance(private, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    )
    entry: dict[str, object] = json.loads(algorithm.to_jwk(private.public_key()))
    return {**entry, "kid": kid, "use": "sig", **changes}


def key_set(*entries: dict[str, object]) -> bytes:
    return json.dumps({"keys": list(entries)}).encode()


GOOD_SET = key_set(jwk(RSA, "rsa"), jwk(EC, "ec"))


def claims(*permissions: str, **changes: object) -> dict[str, object]:
    """Of a token that is good now; a change of None takes a claim away."""
    found: dict[str, object] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "exp": NOW_S + 600,
        "permissions": list(permissions) or ["default:write"],
        **changes,
    }
    return {name: value for name, value in found.items() if value is not None}


def token(body: dict[str, object], *, kid: str | None = "rsa", key: Any = RSA, algorithm: str = "RS256") -> str:
    headers = {} if kid is None else {"kid": kid}
    return "Bearer " + jwt.encode(body, key, algorithm=algorithm, headers=headers)


def part(value: object) -> str:
    """One part of a token that is put together by hand."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned(body: dict[str, object], kid: str = "rsa") -> str:
    return f"Bearer {part({'alg': 'none', 'kid': kid})}.{part(body)}."


def signed_with_public_key(body: dict[str, object]) -> str:
    """The public key as the secret of HS256, which a careless reader takes."""
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signer = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    content = f"{part({'alg': 'HS256', 'kid': 'rsa', 'typ': 'JWT'})}.{part(body)}"
    signature = base64.urlsafe_b64encode(signer.sign(content.encode(), pem)).rstrip(b"=").decode()
    return f"Bearer {content}.{signature}"


# What is refused, whoever asks: its name -> the header.
BAD: dict[str, str] = {
    "foreign issuer": token(claims(iss="https://other.example")),
    "no issuer": token(claims(iss=None)),
    "foreign audience": token(claims(aud="other")),
    "no audience": token(claims(aud=None)),
    "expired": token(claims(exp=NOW_S - 31)),
    "no expiry": token(claims(exp=None)),
    "expiry is no time": token(claims(exp=True)),
    "not valid yet": token(claims(nbf=NOW_S + 31)),
    "no subject": token(claims(sub=None)),
    "subject is no text": token(claims(sub=["alice"])),
    "signed by another key": token(claims(), key=OTHER_RSA),
    "unknown key": token(claims(), kid="unknown"),
    "no key": token(claims(), kid=None),
    "key of another kind": token(claims(), kid="ec"),
    "another hash": token(claims(), algorithm="RS512"),
    "unsigned": unsigned(claims()),
    "public key as secret": signed_with_public_key(claims()),
    "signature cut off": token(claims()).rpartition(".")[0] + ".",
    "body changed": ".".join([*token(claims()).split(".")[:1], part(claims("temporal-system:admin")), "x"]),
    "no scheme": token(claims()).removeprefix("Bearer "),
    "another scheme": token(claims()).replace("Bearer", "Basic"),
    "only a scheme": "Bearer",
    "no token": "Bearer nonsense",
    "deeply nested": f"Bearer {'W1tb' * 3_000}.x.y",
    "too long": "Bearer " + "x" * 20_000,
}


class Source:
    """Where a key set comes from: the next answers; an error is raised, and the last answer stays."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self) -> bytes:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clock(FakeClock):
    """It is NOW_S, and monotonic time starts at a second."""

    def now_ns(self) -> int:
        return NOW_S * SECOND_NS + self.time_ns - SECOND_NS
