// The way of UDP packets from one edge to its relay, through us, so that some or all of them can get lost without either of
// them noticing by anything but that.

import dgram from 'node:dgram';
import { once } from 'node:events';

import { freePorts } from '../../node/lib/process.mjs';
import { hostAndPort } from '../../node/lib/terminal.mjs';

export class Path {
  /** The share of packets that do not pass, in each direction; at 1 none does. */
  loss = 0;
  #front = dgram.createSocket('udp4');
  /** Towards the relay, by the address that the packets come from. */
  #backs = new Map();

  /** One that leads to `relay`, and begins at `address`. */
  static async to(relay) {
    const path = new Path();
    const [port] = await freePorts(1);
    path.#front.bind(port, '127.0.0.1');
    await once(path.#front, 'listening');
    path.address = `127.0.0.1:${port}`;
    path.#front.on('message', (packet, from) => path.#isLost() || path.#back(from, hostAndPort(relay)).send(packet));
    return path;
  }

  end() {
    for (const socket of [this.#front, ...this.#backs.values()]) socket.close();
  }

  #isLost() {
    return Math.random() < this.loss;
  }

  #back(from, { host, port }) {
    const known = this.#backs.get(from.port);
    if (known) return known;
    const back = dgram.createSocket('udp4');
    // A relay that is being restarted refuses packets; QUIC sends them again.
    back.on('error', () => {});
    back.on('message', (packet) => this.#isLost() || this.#front.send(packet, from.port, from.address));
    this.#backs.set(from.port, connected(back, port, host));
    return this.#backs.get(from.port);
  }
}

/** A socket that may be told to send before it is connected: what comes too early is lost, as packets may be. */
function connected(socket, port, host) {
  let isOpen = false;
  socket.connect(port, host, () => (isOpen = true));
  return { send: (packet) => isOpen && socket.send(packet, () => {}), close: () => socket.close() };
}
