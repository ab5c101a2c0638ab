// Real edges, as pages find them.

import { CertificateFiles } from '../../node/lib/certificate.mjs';
import { SECRET, startEdge } from '../../node/lib/cluster.mjs';
import { tokenFor } from '../../node/lib/token.mjs';

/** A token for a lone edge. */
export const token = (user) => tokenFor(user, {}, { secret: SECRET });

/** An edge by itself, for pages of `origin`; with `tls` its `endpoint` has WebTransport, with the pair in `certificate`. */
export async function startLone(origin, { tls }) {
  const certificate = tls ? new CertificateFiles() : undefined;
  const edge = await startEdge({ 'allow-origin': origin, ...certificate?.flags });
  return { ...edge, certificate, endpoint: { websocket: edge.url, ...(tls && { webtransport: edge.webtransport }) } };
}
