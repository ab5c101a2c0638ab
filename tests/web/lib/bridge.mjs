// WebTransport for scripted servers: lib/bridge.py with a certificate of its own, and UDP ports at which nobody answers.

import { spawn } from 'node:child_process';
import dgram from 'node:dgram';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';

import { CertificateFiles } from '../../node/lib/certificate.mjs';

const HERE = import.meta.dirname;

/** A Python that has aioquic; tests/run installs one. */
const PYTHON = process.env.CAUSEWAY_WEB_PYTHON ?? path.join(HERE, '../../../target/tools/aioquic-1.7.2/bin/python');

/** Starts one for `server`, at `port` or any. `freeze` and `thaw` take UDP away and give it back. */
export async function startBridge(server, { port = 0 } = {}) {
  if (!existsSync(PYTHON)) throw new Error(`${PYTHON} is missing: tests/run install`);
  const { cert, key, hash } = new CertificateFiles();
  const args = [path.join(HERE, 'bridge.py'), cert, key, `${port}`, `${server.linePort}`];
  const child = spawn(PYTHON, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  // Whatever ends the tests ends it too, also one that is stopped.
  const end = () => child.kill('SIGKILL');
  process.once('exit', end);
  const first = new Promise((resolve) => createInterface(child.stdout).once('line', resolve));
  const said = await Promise.race([first, exited.then(() => undefined)]);
  if (said === undefined) throw new Error('the bridge did not start');
  const kill = async () => {
    end();
    await exited;
    process.off('exit', end);
  };
  return {
    url: `https://127.0.0.1:${said}/connection/webtransport`,
    port: Number(said),
    hash,
    freeze: () => child.kill('SIGSTOP'),
    thaw: () => child.kill('SIGCONT'),
    stop: kill,
  };
}

/** A UDP port that is bound, and at which nobody reads: what a firewall that drops looks like. */
export async function startSilence() {
  const socket = dgram.createSocket('udp4');
  await new Promise((resolve) => socket.bind(0, '127.0.0.1', resolve));
  const { port } = socket.address();
  return { url: `https://127.0.0.1:${port}/connection/webtransport`, stop: () => socket.close() };
}

/** A UDP port that is closed. */
export async function closedPort() {
  const silence = await startSilence();
  silence.stop();
  return silence.url;
}
