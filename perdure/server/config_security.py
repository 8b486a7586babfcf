"""The sections of a configuration about who may connect, who may do what, and what is recorded of it.

Invariant: a section that is there is complete; there is no half of TLS or of authorization. Secrets stay in files of
their own, which are read when they are used. Refuses to know how tokens are checked.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from perdure.frontend.authorization import roles_of
from perdure.rpc.tls import ChannelFiles, ServerFiles
from perdure.server.config_fields import A_LIST, File, Section, Source, Text, Texts, seconds, unfit

_DAY_S = 86_400.0


class FrontendTlsSection(Section):
    """TLS for clients and workers. `client_authority`: each needs a certificate of these authorities."""

    certificate: File
    key: File
    client_authority: File | None = None

    def files(self) -> ServerFiles:
        """What the listener is given."""
        return ServerFiles(certificate=self.certificate, key=self.key, client_authority=self.client_authority or "")


class InternodeTlsSection(Section):
    """TLS between roles, in both directions. `authority`: everybody's certificate must be of these authorities, which
    should issue none to anybody else. `server_name`: the name that each role's certificate must have, as addresses are
    numbers. `client_names`: who may call, besides; as `dns:name`, `cn:name`, `uri:name`; left out: whoever has the
    server's name. `mode`: nothing but TLS; or, for a change while the cluster serves, each host as it says that it
    takes it, where this one takes plain text (prepare), or TLS (switch).
    """

    certificate: File
    key: File
    authority: File
    server_name: Text
    client_names: Texts | None = None
    mode: Literal["strict", "switch", "prepare"] = "strict"

    def server_files(self) -> ServerFiles:
        """What listeners of roles are given."""
        names = tuple(self.client_names or (f"dns:{self.server_name}",))
        return ServerFiles(
            certificate=self.certificate, key=self.key, client_authority=self.authority, client_names=names
        )

    def channel_files(self) -> ChannelFiles:
        """What channels to other roles are given."""
        return ChannelFiles(
            authority=self.authority, server_name=self.server_name, certificate=self.certificate, key=self.key
        )


class TlsSection(Section):
    """Left out: plain text."""

    frontend: FrontendTlsSection | None = None
    internode: InternodeTlsSection | None = None


class CertificateRule(Section):
    """What a client may do by its certificate alone, without a token. `name`: as `dns:worker.example`, `cn:payments`,
    `uri:spiffe://example/payments`, with `*` for anything. `permissions`: as in tokens.
    """

    name: Text
    permissions: Texts

    @model_validator(mode="after")
    def _has_a_kind(self) -> "CertificateRule":
        if not self.name.startswith(("dns:", "cn:", "uri:")):
            raise ValueError("name: expected dns:, cn: or uri:, and a name")
        for permission in self.permissions:
            if roles_of([permission]) == (0, {}):
                raise unfit("permissions such as NAMESPACE:ROLE, of read, worker, write and admin", permission)
        return self


class AuthSection(Section):
    """Who may do what; left out, everybody may do everything. `keys`: an https (or http) address or a file with the
    key set that tokens are signed by. `audience`, `issuer`: what tokens must name. `permissions_claim`: where a token
    lists what its bearer may do. `leeway`: how far clocks may be apart. `refresh`: how often the keys are read again,
    and how often at most because a token names one that isn't there. `certificates`: rules for who has no token.
    """

    issuer: Text | None = None
    audience: Text | None = None
    keys: Source | None = None
    permissions_claim: Text = "permissions"
    leeway: Annotated[float, seconds(0, 600)] = 30.0
    refresh: Annotated[float, seconds(60, _DAY_S)] = 3_600.0
    refresh_unknown: Annotated[float, seconds(1, 3_600)] = 30.0
    certificates: Annotated[list[CertificateRule], A_LIST] = Field(default_factory=list)

    @model_validator(mode="after")
    def _is_whole(self) -> "AuthSection":
        tokens = (self.issuer, self.audience, self.keys)
        if any(tokens) and not all(tokens):
            raise ValueError("expected issuer, audience and keys, all three of them")
        if not any(tokens) and not self.certificates:
            raise ValueError("expected issuer, audience and keys for tokens, or certificates, or both")
        return self


class AuditSection(Section):
    """Which calls that change something are recorded, in the logger `perdure.audit`: none; those of clients and
    operators; with those of workers too, which are many. Calls that were denied are recorded with both.
    """

    calls: Literal["none", "clients", "all"] = "none"
