// What a page in TypeScript sees: compiled against causeway.d.ts by types.test.mjs, never run.

import { connect, CausewayError, NotKnownError, NotSentError, type Position } from '../../web/causeway';

const client = connect(['https://edge-1.example', { websocket: 'wss://edge-2.example/connection/websocket' }], {
  token: async ({ signal, reason }) => (await fetch(`/token?why=${reason}`, { signal })).text(),
  timings: { headStart: 100 },
});

client.addEventListener('message', ({ detail }) => {
  const user: string | null = detail.user;
  console.log(user, detail.data.text);
});
client.addEventListener('connected', ({ detail }) => detail.transport === 'webtransport');
// @ts-expect-error there is no such event
client.addEventListener('conected', () => {});
// @ts-expect-error there is no such transport
client.transports = ['carrier-pigeon'];
// @ts-expect-error this is read only
client.state = 'connected';

const room = client.subscribe('room', { since: null, signal: AbortSignal.timeout(1000) });
room.addEventListener('subscribed', ({ detail }) => detail.wasRecovering && !detail.recovered);
const position: Position | null = room.position;
// @ts-expect-error what only the module itself uses is not shown
room._begin();

try {
  const { delivered } = await client.send('bob', { text: 'hello' }, { timeout: 1000 });
  const count: number = delivered;
  console.log(count, position);
} catch (error) {
  if (error instanceof NotKnownError || error instanceof NotSentError) console.log(error.temporary);
  if (error instanceof CausewayError) console.log(error.code);
}
