// Runs in a thread of its own, so that whoever measures has time to: logs in on some connections and writes the same
// bytes again and again, as fast as the edge reads them.

import { parentPort, workerData } from 'node:worker_threads';

import { SECRET } from './cluster.mjs';
import { Wire } from './raw.mjs';
import { tokenFor } from './token.mjs';
import { pause } from './wait.mjs';

const { url, clients, first, bytes, milliseconds } = workerData;

async function flood(wire) {
  // What the edge answers is read and not kept.
  wire.socket.removeAllListeners('data').resume();
  let isOver = false;
  wire.closed.then(() => (isOver = true));
  if (first) wire.socket.write(first);
  const until = performance.now() + milliseconds;
  let count = 0;
  for (; performance.now() < until && !isOver; count += 1) {
    const taken = wire.socket.write(bytes);
    // The other connections have their turn, also when the kernel took it all at once.
    await pause(0);
    if (!taken) await Promise.race([new Promise((resolve) => wire.socket.once('drain', resolve)), wire.closed, pause(milliseconds)]);
  }
  return { count, isOver };
}

const users = Array.from({ length: clients }, (_, at) => `flooding-${at}`);
const wires = await Promise.all(users.map((user) => Wire.open(url, user, tokenFor(user, {}, { secret: SECRET }))));
parentPort.postMessage({ isReady: true });
const floods = await Promise.all(wires.map(flood));
for (const wire of wires) wire.close();
parentPort.postMessage({ count: floods.reduce((sum, { count }) => sum + count, 0), ended: floods.filter(({ isOver }) => isOver).length });
