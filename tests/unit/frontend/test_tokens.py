"""Tokens, the keys that they are signed by, and certificates as proofs."""

import asyncio

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from perdure.base.errors import Unauthorized
from perdure.base.metrics import Metrics
from perdure.frontend.authorization import NOBODY, Claims, Role
from perdure.frontend.authorization_keys import Keys, KeyTimes, read_key_set
from perdure.frontend.authorization_tokens import Callers, CertificateRule, TokenRules
from perdure.frontend.measured import GuardMeter
from perdure.rpc.call import CallMeta
from tests.unit.frontend.issuers import (
    AUDIENCE,
    BAD,
    EC,
    GOOD_SET,
    ISSUER,
    NOW_S,
    OTHER_RSA,
    RSA,
    SECOND_NS,
    Clock,
    Source,
    claims,
    jwk,
    key_set,
    token,
)

RULES = TokenRules(issuer=ISSUER, audience=AUDIENCE)
TIMES = KeyTimes(refresh_ns=3_600 * SECOND_NS, unknown_ns=30 * SECOND_NS)


class Door:
    def __init__(self, *answers: bytes | Exception, rules: TokenRules | None = RULES) -> None:
        self.clock = Clock()
        self.source = Source(*(answers or (GOOD_SET,)))
        self.metrics = Metrics()
        self.keys = Keys(self.source, self.clock, TIMES, GuardMeter(self.metrics))
        certificates = [
            CertificateRule("dns:*.workers.example", ("default:worker", "away:worker")),
            CertificateRule("cn:payments", ("default:write",)),
            CertificateRule("cn:team [ab]?", ("away:write",)),
        ]
        self.callers = Callers(rules, self.keys, certificates, self.clock)

    async def knock(self, header: str = "", *names: str) -> Claims:
        return await self.callers.identify(CallMeta(authorization=header, certificate_names=names))

    def fetches(self, outcome: str) -> float:
        labels = {"outcome": outcome, "service_name": "frontend"}
        return self.metrics.registry.get_sample_value("jwks_refreshes", labels) or 0

    async def is_refused(self, header: str) -> bool:
        try:
            await self.knock(header)
        except Unauthorized:
            return True
        return False


@pytest.mark.parametrize(("key", "kid", "algorithm"), [(RSA, "rsa", "RS256"), (EC, "ec", "ES256")])
async def test_a_good_token_says_who_and_what(key: object, kid: str, algorithm: str) -> None:
    body = claims("default:write", "away:read", "temporal-system:worker", aud=["other", AUDIENCE])
    assert await Door().knock(token(body, kid=kid, key=key, algorithm=algorithm)) == Claims(
        "jwt:alice", Role.WORKER, {"default": Role.WRITE, "away": Role.READ}
    )


async def test_the_scheme_may_be_written_in_any_case_and_permissions_under_another_name() -> None:
    door = Door(rules=TokenRules(issuer=ISSUER, audience=AUDIENCE, permissions_claim="roles"))
    header = token(claims("away:admin", roles=["default:read", 7, None])).replace("Bearer", "bearer")
    assert (await door.knock(header)).namespaces == {"default": Role.READ}


@pytest.mark.parametrize("permissions", [None, "default:admin", {"default": "admin"}, [["default:admin"]]])
async def test_permissions_of_another_shape_give_nothing(permissions: object) -> None:
    found = await Door().knock(token(claims(permissions=permissions)))
    assert (found.system, found.namespaces) == (0, {})


@pytest.mark.parametrize("fault", BAD)
async def test_a_bad_token_is_refused_also_the_second_time(fault: str) -> None:
    door = Door()
    assert [await door.is_refused(BAD[fault]) for _ in range(2)] == [True, True]
    assert not await door.is_refused(token(claims()))


async def test_a_bad_token_is_refused_in_spite_of_a_good_certificate() -> None:
    with pytest.raises(Unauthorized):
        await Door().knock(BAD["expired"], "cn:payments")


async def test_a_token_without_configuration_for_tokens_is_refused() -> None:
    assert await Door(rules=None).is_refused(token(claims()))


async def test_without_a_token_a_certificate_speaks() -> None:
    door = Door()
    assert await door.knock() == NOBODY
    assert await door.knock("", "cn:payments", "dns:a.workers.example") == Claims(
        "cn:payments", 0, {"default": Role.WRITE | Role.WORKER, "away": Role.WORKER}
    )
    assert await door.knock("", "dns:payments", "dns:workers.example") == Claims("dns:payments")
    assert await door.knock("", "cn:team [ab]?") == Claims("cn:team [ab]?", 0, {"away": Role.WRITE})
    assert await door.knock("", "cn:team ax") == Claims("cn:team ax")


async def test_a_token_that_was_good_expires() -> None:
    door = Door()
    header = token(claims(exp=NOW_S + 10, nbf=NOW_S - 5))
    assert not await door.is_refused(header)
    door.clock.time_ns += 39 * SECOND_NS
    assert not await door.is_refused(header)
    door.clock.time_ns += SECOND_NS
    assert await door.is_refused(header)


async def test_clocks_may_be_apart_by_the_leeway() -> None:
    door = Door()
    assert not await door.is_refused(token(claims(exp=NOW_S - 29)))
    assert not await door.is_refused(token(claims(nbf=NOW_S + 30)))


async def test_keys_are_read_once_while_many_ask_for_one_that_is_not_there() -> None:
    door = Door()
    for _ in range(20):
        assert await door.is_refused(BAD["unknown key"])
    assert door.source.asked == 1
    door.clock.time_ns += TIMES.unknown_ns
    assert await door.is_refused(BAD["unknown key"])
    assert door.source.asked == 2


async def test_a_new_key_is_found_as_soon_as_a_token_names_it() -> None:
    door = Door(GOOD_SET, key_set(jwk(OTHER_RSA, "newer")))
    old, new = token(claims()), token(claims(), kid="newer", key=OTHER_RSA)
    assert not await door.is_refused(old)
    door.clock.time_ns += TIMES.unknown_ns
    assert not await door.is_refused(new)
    # The old key is gone, and with it what it had signed.
    assert await door.is_refused(old)


@pytest.mark.parametrize("answer", [OSError("no route"), b"nonsense", b'{"keys": []}', TimeoutError()])
async def test_the_last_good_keys_stay(answer: bytes | Exception) -> None:
    door = Door(GOOD_SET, answer)
    assert not await door.is_refused(token(claims()))
    door.clock.time_ns += TIMES.unknown_ns
    assert await door.is_refused(BAD["unknown key"])
    assert door.source.asked == 2
    assert not await door.is_refused(token(claims()))
    # A page that is no key set is no success, whatever its address answered.
    assert (door.fetches("success"), door.fetches("failure")) == (1, 1)


async def test_an_old_set_is_read_again_while_it_still_counts() -> None:
    door = Door(GOOD_SET, key_set(jwk(OTHER_RSA, "newer")))
    header = token(claims(exp=NOW_S + 7_200))
    assert not await door.is_refused(header)
    door.clock.time_ns += TIMES.refresh_ns
    assert await door.keys.find("rsa") is not None
    while door.keys.generation == 1:
        await door.keys.find("newer")
    assert await door.keys.find("rsa") is None
    await door.keys.close()


async def test_a_key_that_is_taken_out_of_the_set_ends_tokens_that_are_known_too() -> None:
    door = Door()
    again = asyncio.Event()

    async def fetch() -> bytes:
        if door.keys.generation == 0:
            return GOOD_SET
        again.set()
        return key_set(jwk(OTHER_RSA, "newer"))

    door.keys = Keys(fetch, door.clock, TIMES)
    door.callers = Callers(RULES, door.keys, [], door.clock)
    header = token(claims(exp=NOW_S + 7_200))
    assert [await door.is_refused(header) for _ in range(2)] == [False, False]  # from now on it is known
    door.clock.time_ns += TIMES.refresh_ns
    assert not await door.is_refused(header)  # the set is read meanwhile
    async with asyncio.timeout(5.0):
        await again.wait()
    assert await door.keys.find("rsa") is None
    assert await door.is_refused(header)


async def test_before_the_first_set_is_there_everybody_is_refused() -> None:
    door = Door(OSError("not yet"), GOOD_SET)
    assert await door.is_refused(token(claims()))
    door.clock.time_ns += TIMES.unknown_ns
    assert not await door.is_refused(token(claims()))


def test_what_is_no_key_for_tokens_is_passed_over() -> None:
    short = rsa.generate_private_key(public_exponent=65_537, key_size=1_024)
    long_curve = ec.generate_private_key(ec.SECP521R1())
    entries: list[dict[str, object]] = [
        jwk(RSA, "good"),
        jwk(RSA, "for secrets", use="enc"),
        jwk(RSA, "another algorithm", alg="PS256"),
        jwk(RSA, ""),
        jwk(RSA, "no modulus", n="!"),
        jwk(RSA, "private", d="AQAB"),
        jwk(short, "short"),
        jwk(long_curve, "long"),
        {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": 7},
    ]
    assert set(read_key_set(key_set(*entries))) == {"good"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"keys": 3}',
        b'{"keys": [1]}',
        key_set(*[jwk(RSA, str(number)) for number in range(201)]),
        b" " * (1 << 20) + b"{}",
        b"[" * 100_000,
        b'{"keys": "\xff"}',
    ],
)
def test_what_is_no_key_set_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"expected|larger|no key"):
        read_key_set(body)
