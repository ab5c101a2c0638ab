// What a client may not do, and how it is told: WebSocket (RFC 6455) and the client protocol, byte by byte.

import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';

import WebSocket from 'ws';

import { startDev, startEdge, SECRET } from './lib/cluster.mjs';
import { HANDSHAKE, request } from './lib/http.mjs';
import { Opcode, Raw, Wire, frame, noise } from './lib/raw.mjs';
import { hostAndPort } from './lib/terminal.mjs';
import { signed, tokenFor, unix } from './lib/token.mjs';
import { until, within } from './lib/wait.mjs';

const connect = (token, id = 1) => JSON.stringify({ id, connect: { token } });

/** A publish command of exactly `bytes` bytes. */
function publishOf(bytes, channel = 'big') {
  const [head, tail] = [`{"id":77,"publish":{"channel":"${channel}","data":"`, '"}}'];
  return `${head}${'x'.repeat(bytes - head.length - tail.length)}${tail}`;
}

describe('the client protocol', { concurrency: true, timeout: 60_000 }, () => {
  let dev;
  let url;
  before(async () => {
    dev = await startDev();
    url = dev.edges[0].url;
  });
  after(() => dev?.stop());

  /** Sends `text` as its first frame and returns how the connection ends. */
  const endAfter = async (text, raw) => {
    const client = raw ?? (await Raw.open(url));
    client.send(text);
    const end = await client.end();
    assert.notEqual(end.reason, '', 'centrifuge-js ignores the code of a close without a reason');
    assert.throws(() => JSON.parse(end.reason), 'centrifuge-js takes JSON for advice');
    return end;
  };
  const login = (user) => Raw.login(url, user);

  describe('disconnects with 3501 after', { concurrency: true }, () => {
    for (const [what, text] of [
      ['what is not JSON', 'hello'],
      ['half an object', '{"id":1,"connect":{'],
      ['an array', '[]'],
      ['a number', '1'],
      ['an empty frame', ''],
      ['a line break alone', '\n'],
      ['two objects without a line break', `${connect('x')}{}`],
      ['an unknown command', '{"id":1,"fly":{}}'],
      ['an id that is no number', '{"id":"1","connect":{}}'],
      ['an id that is negative', '{"id":-1,"connect":{}}'],
      ['a connect without a token', '{"id":1,"connect":{}}'],
      ['a connect with an empty token', '{"id":1,"connect":{"token":""}}'],
      ['a subscribe before the connect', '{"id":1,"subscribe":{"channel":"x"}}'],
      ['a publish before the connect', '{"id":1,"publish":{"channel":"x","data":1}}'],
      ['a directed message before the connect', '{"id":1,"rpc":{"method":"send","data":{"to":"bob","data":1}}}'],
      ['a pong before the connect', '{}'],
    ]) {
      test(what, async () => {
        assert.deepEqual(await endAfter(text), { code: 3501, reason: 'bad request' });
      });
    }

    for (const [what, text] of [
      ['what is not JSON, later on', 'hello'],
      ['an empty frame, later on', ''],
      ['a second connect', connect(tokenFor('twice'), 2)],
      ['an unknown command, later on', '{"id":2,"fly":{}}'],
      ['a pong without a ping', '{}'],
      ['a subscribe to no channel', '{"id":2,"subscribe":{}}'],
      ['an unknown kind of delta', '{"id":2,"subscribe":{"channel":"x","delta":"other"}}'],
    ]) {
      test(what, async () => {
        const raw = await login('wrong-later');
        assert.deepEqual(await endAfter(text, raw), { code: 3501, reason: 'bad request' });
      });
    }

    test('a blank line in the middle of a frame, whose first commands were done', async () => {
      const raw = await login('blank-line');
      raw.send('{"id":2,"publish":{"channel":"x","data":1}}\n\n{"id":3,"publish":{"channel":"x","data":2}}');
      assert.deepEqual(await raw.message(), { id: 2, publish: {} });
      assert.equal((await raw.end()).code, 3501);
      assert.ok(raw.lines.isEmpty);
    });

    test('a command after a connect that was refused with an error', async () => {
      const raw = await Raw.open(url);
      raw.send(connect(tokenFor('late', { exp: unix() - 120 })));
      assert.equal((await raw.message()).error.code, 109);
      assert.equal((await endAfter('{"id":2,"subscribe":{"channel":"x"}}', raw)).code, 3501);
    });
  });

  test('lets one trailing line break pass', async () => {
    const raw = await Raw.open(url);
    raw.send(`${connect(tokenFor('trailing'))}\n`);
    assert.ok((await raw.message()).connect);
    raw.send('{"id":2,"subscribe":{"channel":"a"}}\n{"id":3,"subscribe":{"channel":"b"}}\n');
    assert.deepEqual([(await raw.message()).id, (await raw.message()).id].sort(), [2, 3]);
    raw.close();
  });

  test('ignores fields that it does not know', async () => {
    const raw = await Raw.open(url);
    const token = tokenFor('future');
    raw.send(JSON.stringify({ id: 1, connect: { token, name: 'js', flag: 9, headers: {}, x: [] }, y: 1 }));
    assert.ok((await raw.message()).connect);
    raw.close();
  });

  test('takes binary frames for text', async () => {
    const raw = await Raw.open(url);
    raw.send(Buffer.from(connect(tokenFor('binary'))), { binary: true });
    assert.ok((await raw.message()).connect);
    raw.close();
  });

  test('closes with 3508 after a message without reply, which nobody would take', async () => {
    const raw = await login('sender');
    assert.equal((await endAfter('{"send":{"data":1}}', raw)).code, 3508);
  });

  describe('refuses tokens:', { concurrency: true }, () => {
    const claims = { sub: 'alice' };
    for (const [what, token] of [
      ['none at all but nonsense', 'nonsense'],
      ['signed with another secret', signed(claims, { secret: 'guessed' })],
      ['signed with an empty secret', signed(claims, { secret: '' })],
      ['alg=none, unsigned', `${signed(claims, { header: { alg: 'none' } }).replace(/[^.]*$/, '')}`],
      ['alg=none, signed', signed(claims, { header: { alg: 'none' } })],
      ['alg=HS512', signed(claims, { header: { alg: 'HS512' } })],
      ['alg=RS256', signed(claims, { header: { alg: 'RS256' } })],
      ['a critical extension', signed(claims, { header: { alg: 'HS256', crit: ['x'] } })],
      ['changed after it was signed', tokenFor('alice').replace(/\.[^.]+\./, `.${tokenFor('boss').split('.')[1]}.`)],
      ['huge', tokenFor('alice', { info: 'x'.repeat(30_000) }, { secret: 'guessed' })],
      ['for a channel', signed({ sub: 'alice', channel: 'x' })],
      ['without a user', signed({})],
      ['an empty user', signed({ sub: '' })],
      ['a user that is a number', signed({ sub: 42 })],
      ['a user with a comma', signed({ sub: 'a,b' })],
      ['a user with a #', signed({ sub: 'a#b' })],
      ['a user with a control character', signed({ sub: 'a\nb' })],
      ['a user with DEL', signed({ sub: 'a\x7f' })],
      ['a user of 201 bytes', signed({ sub: 'u'.repeat(201) })],
      ['a user of 201 bytes in 67 letters', signed({ sub: '東'.repeat(67) })],
      ['claims that are no JSON', signed('nonsense')],
      ['claims that are an array', signed([])],
    ]) {
      test(`${what}: 3500`, async () => {
        assert.deepEqual(await endAfter(connect(token)), { code: 3500, reason: 'invalid token' });
      });
    }

    for (const [what, claims] of [
      ['expired beyond the leeway of 60 s', { exp: unix() - 120 }],
      ['not valid yet', { nbf: unix() + 600 }],
    ]) {
      test(`${what}: error 109, and the connection stays`, async () => {
        const raw = await Raw.open(url);
        // The subscribe in the same frame was sent in good faith.
        raw.send(`${connect(tokenFor('early-or-late', claims))}\n{"id":2,"subscribe":{"channel":"x"}}`);
        const { id, error } = await raw.message();
        assert.deepEqual([id, error.code], [1, 109]);
        assert.equal(raw.socket.readyState, WebSocket.OPEN);
        raw.close();
      });
    }

    for (const [what, claims] of [
      ['expired within the leeway', { exp: unix() - 20 }],
      ['valid in a moment', { nbf: unix() + 20 }],
      ['a user of 200 bytes', { sub: 'u'.repeat(200) }],
      ['a user in other scripts', { sub: 'jürgen 東京' }],
      ['an expiry with a fraction', { exp: unix() + 3600.5 }],
    ]) {
      test(`but not: ${what}`, async () => {
        const raw = await Raw.login(url, 'welcome', { claims });
        raw.close();
      });
    }

    test('an edge without a key lets nobody in, and says so', async () => {
      const edge = await startEdge({}, { keyless: true });
      try {
        assert.match(edge.child.stderr, /nobody gets in/);
        for (const secret of ['', SECRET, 'causeway-development-secret']) {
          const raw = await Raw.open(edge.url);
          assert.equal((await endAfter(connect(tokenFor('alice', {}, { secret })), raw)).code, 3500);
        }
      } finally {
        await edge.stop();
      }
    });
  });

  describe('sizes:', { concurrency: true }, () => {
    test('a message of 65,536 bytes passes, and arrives across edges', async () => {
      const [sender, reader] = await Promise.all([login('big-sender'), Raw.login(dev.edges[1].url, 'big-reader')]);
      await reader.ask({ subscribe: { channel: 'big' } });
      const text = publishOf(65_536);
      assert.equal(Buffer.byteLength(text), 65_536);
      sender.send(text);
      assert.deepEqual(await sender.message(), { id: 77, publish: {} });
      assert.equal((await reader.publication()).data, JSON.parse(text).publish.data);
      sender.close();
      reader.close();
    });

    test('one of 65,537 bytes closes with 1009', async () => {
      const raw = await login('too-big');
      assert.equal((await endAfter(publishOf(65_537), raw)).code, 1009);
    });

    test('one of 65,537 bytes in two fragments does too', async () => {
      const wire = await Wire.open(url, 'too-big-in-two');
      const text = publishOf(65_537);
      wire.write(frame(text.slice(0, 40_000), { isFinal: false }));
      wire.write(frame(text.slice(40_000), { opcode: Opcode.continuation }));
      assert.equal((await wire.closeFrame()).code, 1009);
      wire.close();
    });

    test('so does the mere promise of one, before its bytes come', async () => {
      const wire = await Wire.open(url, 'promise');
      const head = Buffer.from([0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]);
      wire.write(head);
      assert.equal((await wire.closeFrame()).code, 1009);
      wire.close();
    });

    test('a message of two fragments is one message', async () => {
      const wire = await Wire.open(url, 'fragments');
      wire.write(frame('{"id":2,"subscribe"', { isFinal: false }));
      wire.write(frame('hi', { opcode: Opcode.ping }));
      const pong = await wire.frames.next('a pong');
      assert.deepEqual([pong.opcode, pong.payload.toString()], [Opcode.pong, 'hi']);
      wire.write(frame(':{"channel":"x"}}', { opcode: Opcode.continuation }));
      assert.deepEqual(JSON.parse(await wire.text()), { id: 2, subscribe: {} });
      wire.close();
    });

    test('a frame that comes byte by byte is a frame', async () => {
      const wire = await Wire.open(url, 'byte-by-byte');
      for (const byte of frame('{"id":2,"subscribe":{"channel":"x"}}')) {
        await new Promise((resolve) => wire.socket.write(Buffer.of(byte), resolve));
      }
      assert.deepEqual(JSON.parse(await wire.text()), { id: 2, subscribe: {} });
      wire.close();
    });

    test('a frame whose rest never comes harms nobody', async () => {
      const half = await Wire.open(url, 'half');
      const bytes = frame('{"id":2,"rpc":{"method":"send","data":{"to":"half-reader","data":"half"}}}');
      const reader = await login('half-reader');
      await new Promise((resolve) => half.socket.write(bytes.subarray(0, bytes.length - 1), resolve));
      half.close();
      await half.end();
      // What the reader gets next is this, and not the half message.
      assert.equal(await reader.tell('half-nobody', 1), 0);
      reader.close();
    });
  });

  describe('WebSocket broken:', { concurrency: true }, () => {
    for (const [what, bytes, code] of [
      ['a frame without a mask', frame('{}', { isMasked: false }), 1002],
      ['reserved bits', frame('{}', { reserved: 4 }), 1002],
      ['a reserved opcode', frame('{}', { opcode: 3 }), 1002],
      ['a reserved control opcode', frame('', { opcode: 11 }), 1002],
      ['a continuation of nothing', frame('{}', { opcode: Opcode.continuation }), 1002],
      ['a ping in fragments', frame('', { opcode: Opcode.ping, isFinal: false }), 1002],
      ['a ping of 126 bytes', frame('x'.repeat(126), { opcode: Opcode.ping }), 1002],
      ['a text in a text', Buffer.concat([frame('{', { isFinal: false }), frame('{}')]), 1002],
      ['text that is not UTF-8', frame(Buffer.from([0x22, 0xc3, 0x28, 0x22])), 1007],
      ['text that ends within a letter', frame(Buffer.from([0x22, 0xe6, 0x9d])), 1007],
    ]) {
      test(`${what} closes with ${code}`, async () => {
        const wire = await Wire.open(url, 'breaker');
        wire.write(bytes);
        const close = await wire.closeFrame();
        assert.equal(close.code, code);
        assert.notEqual(close.reason, '');
        wire.socket.end();
        await wire.end();
      });
    }

    test('random bytes end in a close frame and the end of the connection', async () => {
      for (let seed = 1; seed <= 50; seed += 1) {
        const wire = await Wire.open(url);
        wire.write(noise(seed, 2000));
        wire.socket.end();
        await wire.end();
      }
    });

    test('a client that closes gets its code back', async () => {
      const wire = await Wire.open(url, 'closer');
      wire.write(frame(Buffer.from([0x03, 0xe8]), { opcode: Opcode.close }));
      assert.equal((await wire.closeFrame()).code, 1000);
      await wire.end();
    });
  });

  describe('HTTP:', { concurrency: true }, () => {
    const endpoint = () => `${dev.edges[0].http}/connection/websocket`;
    const upgrade = (headers) => request(endpoint(), { headers: { ...HANDSHAKE, ...headers } });

    test('a request that upgrades nothing gets 426 and is told to what', async () => {
      for (const asked of [{}, { headers: { connection: 'close' } }, { method: 'POST' }]) {
        const { status, headers } = await request(endpoint(), asked);
        assert.deepEqual([status, headers.upgrade, headers['sec-websocket-version']], [426, 'websocket', '13']);
      }
      assert.equal((await upgrade({ 'sec-websocket-version': '8' })).status, 426);
    });

    test('a page of a foreign origin gets 403', async () => {
      for (const origin of ['https://evil.example', 'http://127.0.0.1.evil.example', 'null', 'file://']) {
        assert.equal((await upgrade({ origin })).status, 403, origin);
      }
    });

    test('a page of this machine passes, whatever its port', async () => {
      for (const origin of ['http://localhost:3000', 'http://127.0.0.1', 'https://[::1]:8443']) {
        assert.equal((await upgrade({ origin })).status, 101, origin);
      }
    });

    test('outside development a page of the host that it asks passes, or of those that are allowed', async () => {
      const [own, listed] = await Promise.all([startEdge(), startEdge({ 'allow-origin': 'https://chat.example' })]);
      const status = async (edge, origin, host) => {
        const headers = { ...HANDSHAKE, origin, ...(host && { host }) };
        return (await request(`${edge.http}/connection/websocket`, { headers })).status;
      };
      try {
        assert.equal(await status(own, 'https://chat.example', 'chat.example'), 101);
        assert.equal(await status(own, 'https://chat.example:444', 'chat.example:8000'), 101);
        assert.equal(await status(own, 'https://evil.example', 'chat.example'), 403);
        assert.equal(await status(listed, 'https://chat.example'), 101);
        assert.equal(await status(listed, 'http://localhost'), 403);
      } finally {
        await Promise.all([own.stop(), listed.stop()]);
      }
    });

    test('an unknown path gets 404, in every method', async () => {
      for (const method of ['GET', 'POST', 'OPTIONS']) {
        for (const path of ['/nothing', '/connection/websocket/', '/metrics', '/connection/sockjs']) {
          assert.equal((await request(`${dev.edges[0].http}${path}`, { method })).status, 404, `${method} ${path}`);
        }
      }
    });

    test('9 KiB of headers get 431', async () => {
      assert.equal((await upgrade({ 'x-large': 'x'.repeat(9 << 10) })).status, 431);
      const many = Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`x-${at}`, '1']));
      assert.equal((await upgrade(many)).status, 431);
    });

    test('what is not HTTP gets 400 or is hung up on', async () => {
      const wire = new Wire(new URL(url).host);
      wire.write(noise(7, 500));
      await wire.end();
    });

    test('a request whose headers never end is hung up on after 5 s', async () => {
      const begun = performance.now();
      const socket = net.connect(hostAndPort(new URL(url).host));
      socket.write('GET / HTTP/1.1\r\nhost: x\r\n');
      await within(20_000, 'the end', new Promise((resolve) => socket.on('close', resolve).resume()));
      assert.ok(performance.now() - begun > 4000);
    });

    test('the subprotocol centrifuge-json is taken when it is offered, and no other', async () => {
      const chosen = async (offered) => (await upgrade({ 'sec-websocket-protocol': offered })).headers['sec-websocket-protocol'];
      assert.equal(await chosen('centrifuge-json'), 'centrifuge-json');
      assert.equal(await chosen('other, centrifuge-json'), 'centrifuge-json');
      assert.equal(await chosen('other'), undefined);
      const { status, headers } = await upgrade({});
      assert.deepEqual([status, headers['sec-websocket-protocol']], [101, undefined]);
      assert.equal(headers['sec-websocket-accept'], 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=', 'RFC 6455, section 1.3');
    });

    test('query parameters of old clients harm nothing', async () => {
      const raw = await Raw.login(`${url}?cf_protocol_version=v2`, 'old-client');
      raw.close();
    });
  });

  describe('time:', { concurrency: true }, () => {
    test('who never connects is closed with 3502 after 10 s', async () => {
      const begun = performance.now();
      const raw = await Raw.open(url);
      assert.deepEqual(await raw.end(20_000), { code: 3502, reason: 'stale' });
      assert.ok(performance.now() - begun > 9000);
    });

    test('who does nothing after a refused connect is closed with 3502 as well', async () => {
      const raw = await Raw.open(url);
      raw.send(connect(tokenFor('idle', { exp: unix() - 120 })));
      assert.equal((await raw.message()).error.code, 109);
      assert.equal((await raw.end(20_000)).code, 3502);
    });

    test('pings come as promised; who answers them stays, and who does not is closed with 3012', async () => {
      const edge = await startEdge({ 'ping-interval': '2s', 'pong-timeout': '1s' });
      try {
        const token = tokenFor('pinged', {}, { secret: SECRET });
        const [answers, silent, eager] = await Promise.all([
          Raw.login(edge.url, 'pinged', { token }),
          Raw.login(edge.url, 'pinged', { token, answersPings: false }),
          Raw.login(edge.url, 'pinged', { token, answersPings: false }),
        ]);
        assert.deepEqual([answers.connected.ping, answers.connected.pong], [2, true]);
        assert.equal(await eager.line('a ping'), '{}');
        eager.send('{}\n{}');
        assert.equal((await eager.end()).code, 3501, 'two pongs for one ping');
        assert.deepEqual(await silent.end(), { code: 3012, reason: 'no pong' });
        assert.equal(silent.pings, 1);
        await until('four pings', () => answers.pings >= 4);
        assert.equal(answers.socket.readyState, WebSocket.OPEN);
        answers.close();
      } finally {
        await edge.stop();
      }
    });
  });
});
