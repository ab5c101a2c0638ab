// Certificates of links are replaced, and a CA by another, while nodes run: no link ends for it, and the next ones are made
// with what is there by then.

import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { SECRET } from './lib/cluster.mjs';
import { withFleet } from './lib/fleet.mjs';
import { run, temporary } from './lib/process.mjs';
import { Raw } from './lib/raw.mjs';
import { tokenFor } from './lib/token.mjs';

/** Files are looked at every 10 s. */
const A_LOOK = 40_000;

async function certs(...args) {
  const { code, stderr } = await run('certs', args);
  assert.equal(code, 0, stderr);
}

test('a CA takes over from another under living links', { timeout: 240_000 }, () =>
  withFleet({}, async (fleet) => {
    await fleet.start();
    const { relay, edges } = fleet;
    const nodes = [relay, ...edges];
    const metric = (node, rest) => `${node.kind}_certificate_${rest}`;
    const link = { certificate: 'link' };
    const changed = (count) => Promise.all(nodes.map((node) => node.metric(metric(node, 'changes_total'), count, link, A_LOOK)));
    const login = (edge, user) => Raw.login(edge.url, user, { token: tokenFor(user, {}, { secret: SECRET }) });
    const [ada, bob] = await Promise.all([login(edges[0], 'ada'), login(edges[1], 'bob')]);
    const ca = relay.settings['link-ca'];
    const oldRoot = readFileSync(ca, 'utf8');
    const expiry = async () => (await relay.metrics()).value(metric(relay, 'not_after_time_seconds'), link);
    const oldExpiry = await expiry();

    const another = temporary();
    await certs('init', path.join(another, 'ca'));
    const newRoot = readFileSync(path.join(another, 'ca', 'ca.pem'), 'utf8');
    writeFileSync(ca, oldRoot + newRoot);
    await changed(1);
    for (const node of nodes) {
      await certs('issue', path.join(another, 'ca'), '--name', node.name, '--role', node.kind);
      copyFileSync(path.join(another, 'ca', `${node.name}.key`), node.settings['link-key']);
      copyFileSync(path.join(another, 'ca', `${node.name}.pem`), node.settings['link-cert']);
    }
    // A look may come between the two files of a pair, and finds it whole the next time.
    await changed(2);
    writeFileSync(ca, newRoot);
    await changed(3);

    assert.ok((await expiry()) >= oldExpiry);
    for (const edge of edges) await edge.metric('edge_links_total', 1);
    assert.equal(await ada.tell('bob', 'still linked'), 1);
    assert.equal((await bob.publication()).data, 'still linked');

    // What nobody else's certificate is, is refused, and changes nothing.
    copyFileSync(edges[1].settings['link-cert'], edges[0].settings['link-cert']);
    await edges[0].metric('edge_certificate_refused', 1, link, A_LOOK);

    await relay.restart();
    await fleet.settled();
    for (const edge of edges) await edge.metric('edge_links_total', 2);
    assert.equal(await ada.tell('bob', 'linked anew'), 1);
    assert.equal((await bob.publication()).data, 'linked anew');
    ada.close();
    bob.close();
  }),
);
