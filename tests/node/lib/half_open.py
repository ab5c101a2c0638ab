"""Begins QUIC handshakes that it never goes on with, from several loopback addresses.

Arguments: host, UDP port, how many. Prints one JSON line when all are sent and each was answered or 5 s have passed: how many answers
were Retry packets, and how many handshakes were begun by the other side. Ends when its standard input does.
"""

import json
import select
import socket
import ssl
import sys
import time

from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

RETRY = 0x30
ADDRESSES = 8
PATIENCE = 5.0

host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sockets = []
for number in range(ADDRESSES):
    each = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    each.bind((f"127.0.0.{number + 2}", 0))
    each.setblocking(False)
    sockets.append(each)

answered = {"retry": 0, "begun": 0}


def read(wait):
    ready, _, _ = select.select(sockets, [], [], wait)
    for each in ready:
        try:
            while True:
                kind = each.recv(2048)[0] & 0xB0
                answered["retry" if kind == RETRY | 0x80 else "begun"] += 1
        except BlockingIOError:
            pass
    return bool(ready)


for number in range(count):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE)
    connection = QuicConnection(configuration=configuration)
    connection.connect((host, port), now=time.monotonic())
    for datagram, address in connection.datagrams_to_send(now=time.monotonic()):
        sockets[number % ADDRESSES].sendto(datagram, address)
    read(0)
deadline = time.monotonic() + PATIENCE
while sum(answered.values()) < count and time.monotonic() < deadline:
    read(0.1)
print(json.dumps(answered), flush=True)
sys.stdin.read()
