"""A WebTransport client that shares no code with the edge's side: one session, and with the first write one stream.

Argument: the URL; then, as JSON, the headers to send. Told what to do by lines of JSON on standard input:
{"write": HEX}, {"finish": true}, {"close": [CODE, REASON]}, {"drop": true}. Says what happens by lines of JSON on standard output:
{"ready": SHA-256 of the certificate in base64}, {"refused": STATUS}, {"data": HEX}, {"finished": true}, {"closed": [CODE, REASON]},
and last {"ended": why the connection ended}.
"""

import asyncio
import base64
import hashlib
import json
import ssl
import sys
from urllib.parse import urlsplit

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.buffer import Buffer, encode_uint_var
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived, StreamReset
from cryptography.hazmat.primitives.serialization import Encoding

CLOSE_SESSION = 0x2843


def say(**what):
    print(json.dumps(what), flush=True)


class Peer(QuicConnectionProtocol):
    """The client; its stream's bytes pass HTTP/3 by, which knows no such streams of a client."""

    http = None
    session = None
    stream = None
    capsules = b""

    def ask(self, url, headers):
        self.http = H3Connection(self._quic, enable_webtransport=True)
        self.session = self._quic.get_next_available_stream_id()
        path = url.path + ("?" + url.query if url.query else "")
        pseudo = {
            ":method": "CONNECT",
            ":scheme": "https",
            ":authority": url.netloc,
            ":path": path,
            ":protocol": "webtransport",
        }
        lines = {**pseudo, "sec-webtransport-http3-draft02": "1", **headers}
        self.http.send_headers(self.session, [(name.encode(), value.encode()) for name, value in lines.items()])
        self.transmit()

    def obey(self, order):
        if "write" in order:
            if self.stream is None:
                self.stream = self.http.create_webtransport_stream(self.session)
            self._quic.send_stream_data(self.stream, bytes.fromhex(order["write"]))
        elif "finish" in order:
            self._quic.send_stream_data(self.stream, b"", end_stream=True)
        elif "close" in order:
            code, reason = order["close"]
            capsule = code.to_bytes(4, "big") + reason.encode()
            framed = encode_uint_var(CLOSE_SESSION) + encode_uint_var(len(capsule)) + capsule
            self.http.send_data(self.session, framed, end_stream=True)
        elif "drop" in order:
            self._quic.close()
        self.transmit()

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived) and event.stream_id == self.stream:
            if event.data:
                say(data=event.data.hex())
            if event.end_stream:
                say(finished=True)
        elif isinstance(event, StreamReset) and event.stream_id == self.stream:
            say(finished=False)
        elif isinstance(event, ConnectionTerminated):
            say(ended=f"{event.error_code:#x} {event.reason_phrase}")
        elif self.http is not None:
            for each in self.http.handle_event(event):
                self.http_event_received(each)

    def http_event_received(self, event):
        if isinstance(event, HeadersReceived):
            status = int(dict(event.headers)[b":status"])
            if status != 200:
                say(refused=status)
                return
            der = self._quic.tls._peer_certificate.public_bytes(Encoding.DER)
            say(ready=base64.b64encode(hashlib.sha256(der).digest()).decode())
        elif isinstance(event, DataReceived):
            self.capsules += event.data
            self.read_capsules()

    def read_capsules(self):
        buffer = Buffer(data=self.capsules)
        if not self.capsules or buffer.pull_uint_var() != CLOSE_SESSION:
            return
        length = buffer.pull_uint_var()
        capsule = self.capsules[buffer.tell():]
        if len(capsule) >= length:
            say(closed=[int.from_bytes(capsule[:4], "big"), capsule[4:length].decode()])


async def main(address, headers):
    url = urlsplit(address)
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=H3_ALPN,
        server_name=url.hostname,
        # Who is there is told by the certificate's hash, as a browser would be.
        verify_mode=ssl.CERT_NONE,
        max_datagram_frame_size=65536,
    )
    async with connect(url.hostname, url.port, configuration=configuration, create_protocol=Peer) as peer:
        peer.ask(url, headers)
        loop = asyncio.get_running_loop()
        orders = asyncio.StreamReader(limit=1 << 20)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        while line := await orders.readline():
            peer.obey(json.loads(line))


try:
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
except ConnectionError as error:
    say(ended=f"no connection: {error}")
