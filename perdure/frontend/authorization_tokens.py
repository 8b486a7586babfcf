"""Who a caller is by its bearer token, or by its certificate.

Invariant: a token counts only if it is signed by a key of the set, with that key's own algorithm, is of the issuer and
for the audience that are configured, and is valid now; one that does not is refused, never passed over in favour of a
certificate. Why it was refused is for the log. Refuses to know what the roles in it are enough for.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import jwt
import msgspec
import structlog
from cachetools import LRUCache

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.errors import Unauthorized
from perdure.frontend.authorization import NOBODY, Claims, roles_of
from perdure.frontend.authorization_keys import Keys
from perdure.frontend.rates import Bucket
from perdure.rpc.call import CallMeta

log = structlog.get_logger(__name__)
TOKEN_BYTES_MAX = 16 * 1024
_CACHE_BYTES_MAX = 8 << 20
_ENTRY_BYTES = 1_000  # in memory, beside twice the token
_SUBJECT_MAX = 200
_REFUSALS_LOGGED = 5.0  # a second
_YEARS_NS = 1 << 62
_UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, RecursionError)


class TokenRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a token must have. `permissions_claim`: the list of `<namespace>:<role>`. `leeway_ns`: how far its maker's
    clock may be off.
    """

    issuer: str
    audience: str
    permissions_claim: str = "permissions"
    leeway_ns: int = 30 * SECOND_NS


class CertificateRule(msgspec.Struct, frozen=True):
    """Names as `dns:worker.example`, with `*` for anything, and the permissions of who has such a name."""

    name: str
    permissions: tuple[str, ...]


class _Known(msgspec.Struct, frozen=True):
    claims: Claims
    from_ns: int
    until_ns: int
    size: int


class _Fault(Exception):
    """Why a token doesn't count."""


class Callers:
    """`perdure.frontend.authorization.Identities`. `rules` None: there are no tokens, whoever brings one is refused."""

    def __init__(
        self, rules: TokenRules | None, keys: Keys | None, certificates: Sequence[CertificateRule], clock: Clock
    ) -> None:
        self._rules = rules
        self._keys = keys
        self._certificates = [(_pattern(rule.name), rule.permissions) for rule in certificates]
        self._clock = clock
        self._known: LRUCache[str, _Known] = LRUCache(_CACHE_BYTES_MAX, getsizeof=lambda known: known.size)
        self._generation = 0
        self._logged = Bucket(_REFUSALS_LOGGED, 2 * _REFUSALS_LOGGED, clock.monotonic_ns())

    async def identify(self, meta: CallMeta) -> Claims:
        """See the Protocol."""
        header = meta.authorization
        if not header:
            return self._by_certificate(meta.certificate_names) if meta.certificate_names else NOBODY
        try:
            return await self._by_token(header)
        except _Fault as fault:
            if self._logged.take(self._clock.monotonic_ns()):
                log.warning("a token was refused", reason=str(fault), client=meta.client_name[:_SUBJECT_MAX])
            raise Unauthorized from fault

    def _by_certificate(self, names: Sequence[str]) -> Claims:
        permissions: list[str] = []
        for pattern, granted in self._certificates:
            if any(map(pattern.fullmatch, names)):
                permissions += granted
        return Claims(names[0][:_SUBJECT_MAX], *roles_of(permissions))

    async def _by_token(self, header: str) -> Claims:
        if self._rules is None or self._keys is None:
            raise _Fault("there is no configuration for tokens")
        self._keys.refresh()  # tokens that are known don't ask for their key
        if self._generation != self._keys.generation:
            self._generation = self._keys.generation
            self._known.clear()  # the key of one of them may be gone
        known = self._known.get(header)
        if known is None:
            known = await self._verified(header, self._rules, self._keys)
            self._known[header] = known
        now_ns, leeway_ns = self._clock.now_ns(), self._rules.leeway_ns
        if now_ns >= known.until_ns + leeway_ns:
            raise _Fault("expired")
        if now_ns < known.from_ns - leeway_ns:
            raise _Fault("not valid yet")
        return known.claims

    async def _verified(self, header: str, rules: TokenRules, keys: Keys) -> _Known:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _Fault("expected: Bearer, and a token")
        if len(token) > TOKEN_BYTES_MAX:
            raise _Fault(f"longer than {TOKEN_BYTES_MAX} bytes")
        try:
            head = jwt.get_unverified_header(token)
        except _UNREADABLE as error:
            raise _Fault(f"no token: {error}") from error
        kid = head.get("kid")
        if not isinstance(kid, str) or "crit" in head:
            raise _Fault("expected a kid, and no crit")
        key = await keys.find(kid)
        if key is None:
            raise _Fault("its key is not in the set")
        options: Any = {"require": ["exp"], "verify_exp": False, "verify_nbf": False, "verify_iat": False}
        try:
            body = jwt.decode(
                token,
                key.public,
                algorithms=[key.algorithm],
                audience=rules.audience,
                issuer=rules.issuer,
                options=options,
            )
        except _UNREADABLE as error:
            raise _Fault(str(error) or type(error).__name__) from error
        size = _ENTRY_BYTES + 2 * len(header)
        return _Known(self._claims(body, rules), _time_ns(body, "nbf", 0), _time_ns(body, "exp", 0), size)

    def _claims(self, body: dict[str, Any], rules: TokenRules) -> Claims:
        subject = body.get("sub")
        if not isinstance(subject, str):
            raise _Fault("expected a subject")
        listed = body.get(rules.permissions_claim)
        permissions = [one for one in listed if isinstance(one, str)] if isinstance(listed, list) else []
        system, namespaces = roles_of(permissions)
        return Claims(f"jwt:{subject}"[:_SUBJECT_MAX], system, namespaces)


def _pattern(name: str) -> re.Pattern[str]:
    """Only `*` is special: other signs may well stand in a name, and must not let in who has another one."""
    return re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL)


def _time_ns(body: dict[str, Any], claim: str, default: int) -> int:
    """A time in a token, which is in seconds."""
    value = body.get(claim, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _Fault(f"{claim} is no time")
    return min(max(int(value) * SECOND_NS, -_YEARS_NS), _YEARS_NS)
