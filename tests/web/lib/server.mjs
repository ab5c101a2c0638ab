// A server that does what a test tells it: it speaks the client protocol over WebSocket, answers as an edge would where
// nothing else is said, and has what edges do not have yet (history, tokens that expire at will, half-dead connections).

import net from 'node:net';

import { WebSocketServer } from 'ws';

/** How long a test waits for something before it fails. */
export const PATIENCE = 20_000;

/** Answers of an edge; each is called with the params, the connection and the whole command. Without a value: silence. */
const ANSWERS = {
  connect: (_, connection) => ({ client: `client-${connection.number}`, version: 'Causeway test', ping: 25, pong: true }),
  subscribe: () => ({}),
  unsubscribe: () => ({}),
  publish: () => ({}),
  ping: () => ({}),
  rpc: () => ({ data: { delivered: 1 } }),
  refresh: () => ({ expires: true, ttl: 600 }),
};

/** One connection of a page. `send` writes one object, or text as it is. */
class Connection {
  /** Commands so far, in order. */
  commands = [];
  /** The sizes of the frames that they came in, in bytes. */
  frames = [];
  isOpen = true;
  isMute = false;
  /** The code that the page closed with. */
  closeCode = null;

  constructor(server, number, transport, wire) {
    this.server = server;
    this.number = number;
    this.transport = transport;
    this.wire = wire;
  }

  send(reply) {
    if (this.isOpen && !this.isMute) this.wire.send(typeof reply === 'string' ? reply : JSON.stringify(reply));
  }

  push(push) {
    this.send({ push });
  }

  publish(channel, data, offset, info = { user: 'bob', client: 'b' }) {
    this.push({ channel, pub: { data, info, offset } });
  }

  /** As an edge does: on WebTransport the push first. */
  disconnect(code, reason) {
    if (this.transport === 'webtransport') this.push({ disconnect: { code, reason } });
    this.wire.close(code, reason);
  }

  /** Reads and writes nothing any more, and says nothing of it. */
  mute() {
    this.isMute = true;
    this.wire.pause();
  }

  kill() {
    this.wire.kill();
  }

  received(frame) {
    if (this.isMute) return;
    this.frames.push(Buffer.byteLength(frame));
    for (const line of frame.split('\n').filter(Boolean)) this.#take(JSON.parse(line));
    this.server.changed();
  }

  #take(command) {
    this.commands.push(command);
    const [method] = Object.keys(command).filter((key) => key !== 'id');
    if (!method) return;
    const answer = (this.server.answers[method] ?? ANSWERS[method])?.(command[method], this, command);
    if (!answer) return;
    this.send(answer.error ? { id: command.id, error: answer.error } : { id: command.id, [method]: answer });
  }

  /** All commands of one method. */
  of(method) {
    return this.commands.filter((command) => method in command).map((command) => command[method]);
  }
}

class Server {
  connections = [];
  /** Answers that differ from an edge's. */
  answers = {};
  #waiting = new Set();

  /** The connections that are open. */
  get open() {
    return this.connections.filter((connection) => connection.isOpen);
  }

  get last() {
    return this.connections.at(-1);
  }

  changed() {
    for (const look of this.#waiting) look();
  }

  /** Waits until `found` returns something, and returns that. */
  async until(found, what) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(look);
        reject(new Error(`this did not happen: ${what ?? found}`));
      }, PATIENCE);
      const look = () => {
        const value = found(this);
        if (!value) return;
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve(value);
      };
      this.#waiting.add(look);
      look();
    });
  }

  /** Waits for the nth connection (from 1), and for its connect. */
  connected(nth) {
    return this.until(() => this.connections[nth - 1]?.of('connect').length > 0 && this.connections[nth - 1], `connection ${nth}`);
  }

  added(transport, wire) {
    const connection = new Connection(this, this.connections.length + 1, transport, wire);
    this.connections.push(connection);
    this.changed();
    return connection;
  }
}

/** Starts one, for WebSocket at `url` and for lines, which a WebTransport bridge brings, at `linePort`. */
export async function startServer({ port = 0 } = {}) {
  const server = new Server();
  const sockets = new WebSocketServer({ host: 'localhost', port });
  await new Promise((resolve) => sockets.once('listening', resolve));
  sockets.on('connection', (socket) => {
    const connection = server.added('websocket', {
      send: (text) => socket.send(text),
      close: (code, reason) => socket.close(code, reason),
      pause: () => socket.pause(),
      kill: () => socket.terminate(),
    });
    socket.on('message', (frame) => connection.received(`${frame}`));
    socket.on('close', (code) => closed(server, connection, code));
  });
  const lines = net.createServer((socket) => {
    const connection = server.added('webtransport', {
      send: (text) => socket.write(`${text}\n`),
      raw: (bytes) => socket.write(bytes),
      close: (code, reason) => socket.write(`!close ${code} ${reason}\n`),
      finish: () => socket.write('!finish\n'),
      pause: () => socket.pause(),
      kill: () => socket.destroy(),
    });
    let begun = '';
    socket.setNoDelay(true);
    socket.setEncoding('utf8');
    socket.on('data', (text) => {
      const frames = (begun + text).split('\n');
      begun = frames.pop();
      for (const frame of frames) connection.received(frame);
    });
    socket.on('error', () => {});
    socket.on('close', () => closed(server, connection, null));
  });
  await new Promise((resolve) => lines.listen(0, '127.0.0.1', resolve));
  server.port = sockets.address().port;
  server.url = `ws://localhost:${server.port}/connection/websocket`;
  server.linePort = lines.address().port;
  server.stop = async () => {
    for (const socket of sockets.clients) socket.terminate();
    await new Promise((resolve) => sockets.close(resolve));
    for (const { wire } of server.open) wire.kill();
    await new Promise((resolve) => lines.close(resolve));
  };
  return server;
}

function closed(server, connection, code) {
  connection.isOpen = false;
  connection.closeCode = code;
  server.changed();
}
