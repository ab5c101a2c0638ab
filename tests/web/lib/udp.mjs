// A way for UDP that can be cut: what a network looks like that lets QUIC through for a while.

import dgram from 'node:dgram';

/** Passes on between its own port and that of `url`, until `cut`. */
export async function startUdp(url) {
  const target = new URL(url);
  const behind = Number(target.port);
  const front = dgram.createSocket('udp4');
  const backs = new Map();
  let isCut = false;
  front.on('message', (bytes, from) => {
    if (isCut) return;
    const key = `${from.address}:${from.port}`;
    let back = backs.get(key);
    if (!back) {
      back = dgram.createSocket('udp4');
      backs.set(key, back);
      back.on('message', (answer) => isCut || front.send(answer, from.port, from.address));
    }
    back.send(bytes, behind, '127.0.0.1');
  });
  await new Promise((resolve) => front.bind(0, '127.0.0.1', resolve));
  target.hostname = '127.0.0.1';
  target.port = front.address().port;
  return {
    url: target.href,
    cut: () => (isCut = true),
    mend: () => (isCut = false),
    stop: () => [front, ...backs.values()].forEach((socket) => socket.close()),
  };
}
