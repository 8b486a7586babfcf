"""TLS for a release: Secrets of one authority, and the values that name them."""

import json

import trustme
from temporalio.service import TLSConfig

from tests.kubernetes.installation import Installation

SERVER_NAME = "frontend.perdure.test"
INTERNODE_NAME = "internode.perdure.test"
VALUES = {
    "server": {
        "config": {
            "tls": {
                "frontend": {"existingSecret": "frontend-tls", "clientAuthority": True},
                "internode": {"existingSecret": "internode-tls", "server_name": INTERNODE_NAME},
            }
        }
    },
    "test": {"existingSecret": "client-tls", "clientCertificate": True, "serverName": SERVER_NAME},
}


async def made(place: Installation) -> TLSConfig:
    """Make the Secrets, and say what a client outside needs."""
    authority = trustme.CA()
    ca = authority.cert_pem.bytes()
    client = authority.issue_cert("client.perdure.test")
    secrets = {"frontend-tls": SERVER_NAME, "internode-tls": INTERNODE_NAME, "client-tls": ""}
    for name, identity in secrets.items():
        issued = authority.issue_cert(identity) if identity else client
        data = {
            "ca.crt": ca.decode(),
            "tls.crt": issued.cert_chain_pems[0].bytes().decode(),
            "tls.key": issued.private_key_pem.bytes().decode(),
        }
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
        await place.kubectl("apply", "-f", "-", given=json.dumps(secret))
    return TLSConfig(
        server_root_ca_cert=ca,
        domain=SERVER_NAME,
        client_cert=client.cert_chain_pems[0].bytes(),
        client_private_key=client.private_key_pem.bytes(),
    )
