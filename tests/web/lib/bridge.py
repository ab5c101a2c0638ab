"""A WebTransport server for tests: it passes the first bidirectional stream of each session on to a TCP port as it is.

Arguments: certificate, key, UDP port (0: any), TCP port. Prints the UDP port. What comes back on TCP goes to the stream, except for
the lines `!close CODE REASON`, which closes the session 100 ms later, and `!finish`, which ends the stream only.
"""

import asyncio
import struct
import sys

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import HeadersReceived, WebTransportStreamDataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated, StreamDataReceived, StreamReset

CLOSE_SESSION = 0x2843


class Bridge(QuicConnectionProtocol):
    """One browser; one session, one stream."""

    tcp_port = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = None
        self.session = None
        self.stream = None
        self.writer = None
        self.early = b""
        self.is_closed = False

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self._quic, enable_webtransport=True)
        elif isinstance(event, ConnectionTerminated):
            self.end()
        elif isinstance(event, StreamReset) and event.stream_id == self.stream:
            self.end()
        elif isinstance(event, StreamDataReceived) and event.stream_id == self.session and event.end_stream:
            self.end()
        if self.http is not None:
            for each in self.http.handle_event(event):
                self.http_event_received(each)

    def http_event_received(self, event):
        if isinstance(event, HeadersReceived):
            self.session = event.stream_id
            answer = [(b":status", b"200"), (b"sec-webtransport-http3-draft", b"draft02")]
            self.http.send_headers(stream_id=event.stream_id, headers=answer)
            self.transmit()
        elif isinstance(event, WebTransportStreamDataReceived):
            if self.stream is None:
                self.stream = event.stream_id
                asyncio.ensure_future(self.pump())
            if self.writer is None:
                self.early += event.data
            else:
                self.writer.write(event.data)
            if event.stream_ended:
                self.end()

    async def pump(self):
        reader, self.writer = await asyncio.open_connection("127.0.0.1", self.tcp_port)
        self.writer.write(self.early)
        while chunk := await reader.read(65536):
            data, control, order = chunk.partition(b"!")
            if data:
                self.write(data)
            if control:
                await self.obey(order.decode().split())
        self.close_session(0, "")

    async def obey(self, order):
        if order[0] == "finish":
            self.write(b"", end_stream=True)
        else:
            await asyncio.sleep(0.1)
            self.close_session(int(order[1]), " ".join(order[2:]))

    def write(self, data, end_stream=False):
        self._quic.send_stream_data(self.stream, data, end_stream)
        self.transmit()

    def close_session(self, code, reason):
        if self.is_closed:
            return
        self.is_closed = True
        payload = struct.pack(">I", code) + reason.encode()
        capsule = encode_uint_var(CLOSE_SESSION) + encode_uint_var(len(payload)) + payload
        self.http.send_data(stream_id=self.session, data=capsule, end_stream=True)
        self.transmit()
        self.end()

    def end(self):
        self.is_closed = True
        if self.writer is not None:
            self.writer.close()


async def main():
    certificate, key, udp_port, tcp_port = sys.argv[1:]
    Bridge.tcp_port = int(tcp_port)
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"], max_datagram_frame_size=65536)
    configuration.load_cert_chain(certificate, key)
    server = await serve("127.0.0.1", int(udp_port), configuration=configuration, create_protocol=Bridge)
    print(server._transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.Future()


asyncio.run(main())
