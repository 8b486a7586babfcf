"""What a server's sections about security mean: the certificates of its listeners and channels, and its guards.

Invariant: files that can't be used are named before anything listens. Refuses to know what a guard decides.
"""

from collections.abc import Callable

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.metrics import Metrics
from perdure.frontend.audit import Audit
from perdure.frontend.authorization import Authorization
from perdure.frontend.authorization_keys import Keys, KeyTimes
from perdure.frontend.authorization_tokens import Callers, CertificateRule, TokenRules
from perdure.frontend.guards import Guards
from perdure.frontend.measured import GuardMeter
from perdure.rpc.tls import ChannelTls, ServerTls
from perdure.server.config_security import AuditSection, AuthSection, TlsSection
from perdure.server.key_source import key_source
from perdure.server.measured import CertificateMeter


class Security:
    """Of one process. `frontend`, `internode`: the certificates of its listeners; `channels`: of its channels to other
    hosts; None = plain text. `is_strict`: no host is spoken to in another way. `guards`: for its frontend. `frontends`:
    how many serve now. Raises InvalidArgument, which names the file.
    """

    def __init__(
        self,
        tls: TlsSection,
        auth: AuthSection | None,
        audit: AuditSection,
        clock: Clock,
        metrics: Metrics | None = None,
        frontends: Callable[[], int] = lambda: 1,
    ) -> None:
        own, others = tls.frontend, tls.internode
        self.frontend = ServerTls(own.files(), clock) if own is not None else None
        takes = ServerTls(others.server_files(), clock) if others is not None else None
        self.internode = takes if others is not None and others.mode != "prepare" else None
        self.is_strict = others is None or others.mode == "strict"
        self.channels = ChannelTls(others.channel_files(), clock) if others is not None else None
        meter = GuardMeter(metrics)
        if metrics is not None:
            used = {"frontend": own, "internode": others}
            CertificateMeter(
                metrics, clock, {name: each.certificate for name, each in used.items() if each is not None}
            )
        self._keys: Keys | None = None
        if auth is not None and auth.keys is not None:
            times = KeyTimes(refresh_ns=int(auth.refresh * SECOND_NS), unknown_ns=int(auth.refresh_unknown * SECOND_NS))
            self._keys = Keys(key_source(auth.keys), clock, times, meter)
        self.guards = Guards(
            authorization=None if auth is None else Authorization(_callers(auth, self._keys, clock)),
            audit=None if audit.calls == "none" else Audit(meter, workers=audit.calls == "all"),
            frontends=frontends,
            meter=meter,
        )

    @property
    def is_open(self) -> bool:
        """Whether callers may ask which methods there are: with authorization, nobody may without a right."""
        return self.guards.authorization is None

    async def close(self) -> None:
        """Stop asking for keys."""
        if self._keys is not None:
            await self._keys.close()


def _callers(auth: AuthSection, keys: Keys | None, clock: Clock) -> Callers:
    rules = None
    if auth.issuer is not None and auth.audience is not None:
        rules = TokenRules(
            issuer=auth.issuer,
            audience=auth.audience,
            permissions_claim=auth.permissions_claim,
            leeway_ns=int(auth.leeway * SECOND_NS),
        )
    certificates = [CertificateRule(rule.name, tuple(rule.permissions)) for rule in auth.certificates]
    return Callers(rules, keys, certificates, clock)
