"""An OPC UA server that asks who is there: ``python opcua_guarded_server.py PORT [CERTIFICATE KEY TRUSTED]``.

It knows the user ``lab`` with the password of the environment's ``LAB_PASSWORD``. With a certificate it takes
signed and encrypted channels only, and only clients whose certificate is in the folder ``TRUSTED`` and names
the application that they say they are. It prints ``ready`` and serves.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.crypto.truststore import TrustStore
from asyncua.crypto.validator import CertificateValidator, CertificateValidatorOptions
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager

_CHECKED = CertificateValidatorOptions.TRUSTED | CertificateValidatorOptions.URI


class OneUser(UserManager):
    """Knows one user by password."""

    def get_user(
        self, iserver: Any, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        """Return the user, None for anybody else."""
        if (username, password) == ("lab", os.environ["LAB_PASSWORD"]):
            return User(role=UserRole.User, name="lab")
        return None


async def main(port: int, files: list[str]) -> None:
    """Serve until killed."""
    server = Server(user_manager=OneUser())
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_identity_tokens([ua.UserNameIdentityToken])
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    if files:
        certificate, key, trusted = files
        server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
        await server.load_certificate(certificate)
        await server.load_private_key(key)
        store = TrustStore([Path(trusted)], [])
        await store.load()
        server.set_certificate_validator(CertificateValidator(_CHECKED, store))
    await server.nodes.objects.add_variable(
        ua.NodeId.from_string("ns=2;s=i"), ua.QualifiedName("i", 2), 1.5, ua.VariantType.Double
    )
    async with server:
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
