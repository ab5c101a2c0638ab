// Strangers at a QUIC port: first packets of handshakes that go no further (RFC 9000 and 9001), built by hand, since no
// honest client would send them.

import { createCipheriv, createHmac, randomBytes } from 'node:crypto';
import dgram from 'node:dgram';

import { hostAndPort } from './terminal.mjs';

/** From which the keys of QUIC version 1's first packets are made (RFC 9001, section 5.2). */
const SALT = Buffer.from('38762cf7f55934b34d179ae6a4c80cadccbb7f0a', 'hex');
const VERSION = Buffer.from([0, 0, 0, 1]);

/** A first packet fills its datagram (RFC 9000, section 14.1). */
const DATAGRAM = 1200;
const TAG = 16;

const hmac = (key, ...parts) => parts.reduce((hash, part) => hash.update(part), createHmac('sha256', key)).digest();

/** HKDF-Expand-Label (RFC 8446, section 7.1), at most one block. */
function expand(secret, label, length) {
  const name = Buffer.from(`tls13 ${label}`);
  const info = Buffer.concat([Buffer.from([0, length, name.length]), name, Buffer.from([0])]);
  return hmac(secret, info, Buffer.from([1])).subarray(0, length);
}

const long = (number) => Buffer.from([0x40 | (number >> 8), number & 0xff]);

/** The beginning of a ClientHello that says it is longer: whoever answers it must wait for the rest. */
function beginningOfHello() {
  const hello = Buffer.concat([Buffer.from([1, 0, 2, 0, 3, 3]), randomBytes(32), Buffer.from([0])]);
  return Buffer.concat([Buffer.from([6, 0]), long(hello.length), hello]);
}

/** A first packet, to be answered to the connection id `source`. */
export function initial(source, { destination = randomBytes(8), token = Buffer.alloc(0) } = {}) {
  const secret = expand(hmac(SALT, destination), 'client in', 32);
  const [key, iv, mask] = [['quic key', 16], ['quic iv', 12], ['quic hp', 16]].map(([label, length]) => expand(secret, label, length));
  const id = (bytes) => Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const head = [VERSION, id(destination), id(source), long(token.length), token];
  const before = 1 + head.reduce((sum, { length }) => sum + length, 0) + 2;
  // One byte of packet number, which is 0.
  const payload = Buffer.alloc(DATAGRAM - before - 1 - TAG);
  beginningOfHello().copy(payload);
  const header = Buffer.concat([Buffer.from([0xc0]), ...head, long(1 + payload.length + TAG), Buffer.from([0])]);
  const cipher = createCipheriv('aes-128-gcm', key, iv).setAAD(header);
  const sealed = Buffer.concat([cipher.update(payload), cipher.final(), cipher.getAuthTag()]);
  const hidden = createCipheriv('aes-128-ecb', mask, null).update(sealed.subarray(3, 19));
  header[0] ^= hidden[0] & 0x0f;
  header[header.length - 1] ^= hidden[1];
  return Buffer.concat([header, sealed]);
}

/** What a Retry packet (RFC 9000, section 17.2.5) wants in the next first packet; nothing where `packet` is another. */
export function retryOf(packet) {
  const isRetry = (packet[0] & 0xf0) === 0xf0 && packet.subarray(1, 5).equals(VERSION);
  if (!isRetry) return undefined;
  const source = 6 + packet[5];
  const token = source + 1 + packet[source];
  return { destination: packet.subarray(source + 1, token), token: packet.subarray(token, packet.length - TAG) };
}

/** A stranger at one address of ours, who begins handshakes without end; one who `obeys` also shows that his address is his. */
export class Stranger {
  begun = 0;
  retries = 0;
  #socket = dgram.createSocket('udp4');

  constructor(from, to, { obeys = false } = {}) {
    this.from = from;
    this.to = hostAndPort(to);
    this.#socket.on('error', () => {});
    this.#socket.on('message', (packet) => {
      const retry = retryOf(packet);
      if (!retry) return;
      this.retries += 1;
      if (obeys) this.#send(initial(packet.subarray(6, 6 + packet[5]), retry));
    });
    this.bound = new Promise((resolve) => this.#socket.bind(0, from, resolve));
  }

  /** Begins so many handshakes. */
  begin(count) {
    for (let at = 0; at < count; at += 1) this.#send(initial(randomBytes(8)));
    this.begun += count;
  }

  close() {
    this.#socket.close();
  }

  #send(packet) {
    this.#socket.send(packet, this.to.port, this.to.host, () => {});
  }
}
