// Certificates as an operator has them from elsewhere: by openssl, in files that somebody replaces.

import { execFileSync } from 'node:child_process';
import { X509Certificate, createHash } from 'node:crypto';
import { readFileSync, renameSync } from 'node:fs';
import path from 'node:path';

import { temporary } from './process.mjs';

/** Two files for `--tls-cert` and `--tls-key`, with a pair of their own; `renew` writes another. */
export class CertificateFiles {
  #directory = temporary();
  cert = path.join(this.#directory, 'tls.pem');
  key = path.join(this.#directory, 'tls.key');

  constructor() {
    this.renew();
  }

  get flags() {
    return { 'tls-listen': '127.0.0.1:0', 'tls-cert': this.cert, 'tls-key': this.key };
  }

  /** A pair that signs itself, in both files. */
  renew() {
    this.make('new');
    renameSync(path.join(this.#directory, 'new.key'), this.key);
    renameSync(path.join(this.#directory, 'new.pem'), this.cert);
  }

  /** A pair beside the two files. */
  make(stem) {
    const [key, cert] = [path.join(this.#directory, `${stem}.key`), path.join(this.#directory, `${stem}.pem`)];
    const what = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '10'];
    const who = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
    execFileSync('openssl', ['req', ...what, ...who, '-keyout', key, '-out', cert], { stdio: 'pipe' });
    return { key, cert };
  }

  get pem() {
    return readFileSync(this.cert, 'utf8');
  }

  get x509() {
    return new X509Certificate(this.pem);
  }

  /** What a browser may know it by: the SHA-256 of its DER, in base64. */
  get hash() {
    return createHash('sha256').update(this.x509.raw).digest('base64');
  }
}
