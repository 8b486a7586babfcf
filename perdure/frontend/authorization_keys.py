"""The keys that bearer tokens are signed by: a key set, read again now and then.

Invariant: a key does for one algorithm, RS256 or ES256, by its own kind and not by what a token says of it; the last
set that could be read stays until another one can; a token that names an unknown key makes the set be read again, once
an interval at most, whoever sends how many. Refuses to know where the set comes from.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import jwt
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.tasks import Background
from perdure.frontend.measured import GuardMeter

log = structlog.get_logger(__name__)
SET_BYTES_MAX = 1 << 20
KEYS_MAX = 200
_KID_MAX = 500
_RSA_BITS_MIN, _RSA_BITS_MAX = 2_048, 8_192  # of a longer one a signature takes long to check
_FETCH_S = 10.0
# Gives the bytes of a key set; any error means that it can't be had now.
Fetch = Callable[[], Awaitable[bytes]]


class Key(msgspec.Struct, frozen=True):
    """`public`: as the library takes it. `algorithm`: the only one that it does for."""

    public: Any
    algorithm: str


class KeyTimes(msgspec.Struct, frozen=True, kw_only=True):
    """`refresh_ns`: how old a set becomes. `unknown_ns`: the least time between two attempts to read one."""

    refresh_ns: int = 3_600 * SECOND_NS
    unknown_ns: int = 30 * SECOND_NS


class Keys:
    """A key set. `generation` rises with each set that is another one than before."""

    def __init__(
        self,
        fetch: Fetch,
        clock: Clock,
        times: KeyTimes = KeyTimes(),  # noqa: B008 - it is frozen
        meter: GuardMeter | None = None,
    ) -> None:
        self._meter = meter or GuardMeter()
        self._fetch = fetch
        self._clock = clock
        self._times = times
        self._keys: dict[str, Key] = {}
        self._body = b""
        self._read_ns: int | None = None
        self._tried_ns: int | None = None
        self._reading: asyncio.Task[None] | None = None
        self._background = Background(_unexpected)
        self.generation = 0

    async def find(self, kid: str) -> Key | None:
        """The key of this id; waits for a set if it has to be read first."""
        self.refresh()
        key = self._keys.get(kid)
        if key is None and (self._may_try() or self._reading is not None):
            await asyncio.wait([self._read()])
            key = self._keys.get(kid)
        return key

    def refresh(self) -> None:
        """Begin to read the set again if it is old; it counts until then. For every use of a key, also of one that was
        found before: else one that was taken out of the set would count for as long as nothing new comes.
        """
        is_old = self._read_ns is not None and self._clock.monotonic_ns() - self._read_ns >= self._times.refresh_ns
        if is_old and self._may_try():
            self._read()

    def _may_try(self) -> bool:
        return self._tried_ns is None or self._clock.monotonic_ns() - self._tried_ns >= self._times.unknown_ns

    async def close(self) -> None:
        """Stop reading."""
        await self._background.close()

    def _read(self) -> asyncio.Task[None]:
        """The attempt that is on its way, or a new one."""
        if self._reading is None:
            self._tried_ns = self._clock.monotonic_ns()
            self._reading = self._background.spawn(self._try(), "key set")
        return self._reading

    async def _try(self) -> None:
        is_done = False
        try:
            async with asyncio.timeout(_FETCH_S):
                body = await self._fetch()
            keys = read_key_set(body)
        except Exception as error:  # noqa: BLE001 - whatever it is, the keys that are there stay
            log.warning("the key set can't be read; the former one stays", error=str(error) or type(error).__name__)
        else:
            is_done = True
            self._read_ns = self._clock.monotonic_ns()
            if body != self._body:
                self._body, self._keys = body, keys
                self.generation += 1
                log.info("key set", keys=list(keys))
        finally:
            self._meter.keys_fetched(is_done=is_done)
            self._reading = None


def read_key_set(body: bytes) -> dict[str, Key]:
    """The keys of a JWKS that sign tokens, by id; others in it are passed over. Raises ValueError for no key set."""
    if len(body) > SET_BYTES_MAX:
        raise ValueError(f"larger than {SET_BYTES_MAX >> 20} MiB, that is no key set")
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError("expected a key set in JSON") from error
    entries = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(entries, list) or len(entries) > KEYS_MAX:
        raise ValueError(f'expected an object with at most {KEYS_MAX} "keys"')
    keys: dict[str, Key] = {}
    for entry in entries:
        key = _key(entry) if isinstance(entry, dict) else None
        if key is not None:
            keys[entry["kid"]] = key
    if not keys:
        raise ValueError("no key in it does for RS256 or ES256")
    return keys


def _key(entry: Mapping[str, Any]) -> Key | None:
    kid, algorithm = entry.get("kid"), {"RSA": "RS256", "EC": "ES256"}.get(str(entry.get("kty")))
    if not isinstance(kid, str) or not 0 < len(kid) <= _KID_MAX or algorithm is None:
        return None
    if entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm or "d" in entry:
        return None
    try:
        public = jwt.PyJWK(dict(entry), algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        log.warning("a key of the set can't be used", kid=kid, error=str(error))
        return None
    is_rsa = isinstance(public, RSAPublicKey) and _RSA_BITS_MIN <= public.key_size <= _RSA_BITS_MAX
    is_ec = isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1)
    return Key(public, algorithm) if is_rsa or is_ec else None


def _unexpected(error: BaseException) -> None:
    log.error("a key set was not read", exc_info=error)
