"""A private authority, a client certificate, and no way to skip the checks by accident.

Needs the extra ``testing`` for its certificates.

Guide: 2, table, row "SSL/TLS".

Prints::

    TLS__CA_FILE: 200
    TLS__CERT_FILE: 200, the server knows CN=gateway
    without the authority: ClientConnectorCertificateError
    ssl=False of a request: tls_unverified
"""

import asyncio
import ssl
import tempfile
from pathlib import Path

import aiohttp
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from platform_http import EgressDeniedError, HttpSettings, SessionFactory


async def whoami(request: web.Request) -> web.Response:
    """Answer with the name in the client's certificate, if it showed one."""
    shown = request.get_extra_info("peercert") or {"subject": ()}
    return web.json_response({key: value for ((key, value),) in shown["subject"]})


async def main() -> None:
    """Call a server that only our own authority vouches for."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_OPTIONAL
    ca.configure_trust(context)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    app = web.Application()
    app.router.add_get("/", whoami)
    with tempfile.TemporaryDirectory() as folder:
        ca_file, own_file = Path(folder, "ca.pem"), Path(folder, "gateway.pem")
        ca.cert_pem.write_to_path(str(ca_file))
        own = ca.issue_cert("gateway.internal", common_name="gateway")
        own.private_key_and_cert_chain_pem.write_to_path(str(own_file))
        server = TestServer(app, scheme="https", host="127.0.0.1")
        await server.start_server(ssl=context)
        try:
            url = str(server.make_url("/"))
            settings = HttpSettings(
                base_url=url,
                clients={
                    "trusting": {"tls": {"ca_file": ca_file}},
                    "known": {"tls": {"ca_file": ca_file, "cert_file": own_file}},
                },
            )
            async with SessionFactory(settings) as factory:
                async with factory.session("trusting").get("") as response:
                    print("TLS__CA_FILE:", response.status)
                async with factory.session("known").get("") as response:
                    name = (await response.json())["commonName"]
                    print(f"TLS__CERT_FILE: {response.status}, the server knows CN={name}")
                try:
                    await factory.session().get("")
                except aiohttp.ClientSSLError as error:
                    print("without the authority:", type(error).__name__)
                try:
                    await factory.session("trusting").get("", ssl=False)
                except EgressDeniedError as error:
                    print("ssl=False of a request:", error.reason)
        finally:
            await server.close()


if __name__ == "__main__":
    asyncio.run(main())
