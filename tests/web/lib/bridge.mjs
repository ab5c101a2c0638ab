// WebTransport for scripted servers: lib/bridge.py with a certificate of its own, and UDP ports at which nobody answers.

import { execFileSync, spawn } from 'node:child_process';
import { X509Certificate, createHash } from 'node:crypto';
import dgram from 'node:dgram';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';

const HERE = import.meta.dirname;

/** A Python that has aioquic; tests/run installs one. */
const PYTHON = process.env.CAUSEWAY_WEB_PYTHON ?? path.join(HERE, '../../../target/tools/aioquic-1.7.2/bin/python');

/** Starts one for `server`, at `port` or any. `freeze` and `thaw` take UDP away and give it back. */
export async function startBridge(server, { port = 0 } = {}) {
  if (!existsSync(PYTHON)) throw new Error(`${PYTHON} is missing: tests/run install`);
  const folder = mkdtempSync(path.join(os.tmpdir(), 'causeway-bridge-'));
  const [certificate, key] = [path.join(folder, 'cert.pem'), path.join(folder, 'key.pem')];
  const hash = makeCertificate(certificate, key);
  const args = [path.join(HERE, 'bridge.py'), certificate, key, `${port}`, `${server.linePort}`];
  const child = spawn(PYTHON, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const first = new Promise((resolve) => createInterface(child.stdout).once('line', resolve));
  const said = await Promise.race([first, exited.then(() => undefined)]);
  if (said === undefined) throw new Error('the bridge did not start');
  const kill = async () => {
    child.kill('SIGKILL');
    await exited;
    rmSync(folder, { recursive: true, force: true });
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

/** What browsers take by its hash: ECDSA, a SAN, and under 14 days. Returns its SHA-256 in base64. */
export function makeCertificate(certificate, key) {
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '10'];
  const subject = ['-subj', '/CN=bridge', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  execFileSync('openssl', [...request, ...subject, '-out', certificate, '-keyout', key], { stdio: 'ignore' });
  const { raw } = new X509Certificate(readFileSync(certificate));
  return createHash('sha256').update(raw).digest('base64');
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
