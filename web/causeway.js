// Causeway's browser client: keeps a page connected to an edge, over WebTransport where that works and over WebSocket
// where it must be, and speaks the Centrifugo client protocol (version 2, JSON) on either.
//
//   import { connect } from '/causeway.js';
//   const client = connect('https://edge.example', { token: () => fetch('/token').then((answer) => answer.text()) });
//   client.addEventListener('message', ({ detail }) => console.log(detail.user, detail.data));
//   const { delivered } = await client.send('bob', { text: 'hello' });
//
// One module, without dependencies and without a build step; types come from its JSDoc (causeway.d.ts).
//
// One file, so that a page needs one request and no tools. Read downwards: what a page sees (`connect`, `Client`,
// `Subscription`, errors), then commands, tokens, the two transports, and helpers.
//
// What must stay true:
// - Every command ends: by its answer, by an error, or by its caller's signal. Once it was written, only the answer says
//   what became of it; without one it ends in NotKnownError. Nothing is written twice.
// - Replies and pushes are handled in the order in which they came, and without waiting in between: a publication that
//   comes right behind its subscribe reply finds the subscription ready.
// - At most one transport is listened to. What an older one still says is dropped.

/** @typedef {'webtransport' | 'websocket'} TransportName */
/** @typedef {'connecting' | 'connected' | 'disconnected'} ClientState */
/** @typedef {'subscribing' | 'subscribed' | 'unsubscribed'} SubscriptionState */

/**
 * A place in a channel's history: everything up to `offset` has been seen.
 *
 * @typedef {{ offset: number, epoch: string }} Position
 */

/**
 * Who published, joined or left: one connection of a user. The two `…_info` are what tokens say of them.
 *
 * @typedef {{ user: string, client: string, conn_info?: any, chan_info?: any }} ClientInfo
 */

/**
 * What somebody published. `user` is `info.user`, or null where a server published. `offset` comes with history only.
 *
 * @typedef {object} Publication
 * @property {string} channel
 * @property {any} data
 * @property {string | null} user
 * @property {ClientInfo} [info]
 * @property {number} [offset]
 * @property {Record<string, string>} [tags]
 */

/**
 * How long to wait, and a way to stop waiting. `timeout`, in ms, counts twice: until the command is written, and from
 * then until its answer (5,000 unless the client was told otherwise). An aborted command rejects with `signal.reason`;
 * it is withdrawn if it has not been written.
 *
 * @typedef {{ signal?: AbortSignal, timeout?: number }} CallOptions
 */

/**
 * Why a token is wanted: there is none yet, the one in use is about to expire, or it was found expired.
 *
 * @typedef {{ signal: AbortSignal, reason: 'connect' | 'refresh' | 'expired', channel?: string }} TokenContext
 */

/**
 * A token, or a function that gets one. The function is asked again when a token expires; it may throw, and is then asked
 * again later. An empty answer means that this user may not come in, and ends the client or the subscription.
 *
 * @typedef {string | ((context: TokenContext) => string | null | Promise<string | null>)} TokenSource
 */

/**
 * Addresses of an edge that do not follow from one base.
 *
 * @typedef {{ websocket?: string | URL, webtransport?: string | URL }} Endpoint
 */

/**
 * @typedef {object} ClientOptions
 * @property {TokenSource} [token]
 * @property {any} [data]  sent with each connect
 * @property {TransportName[]} [transports]  which may be used; both
 * @property {(string | BufferSource)[]} [certificateHashes]  SHA-256 of an edge's certificates in DER, as bytes or in
 *   base64, for certificates that no browser knows. On loopback addresses they are asked for at `/certificate-hash`
 * @property {number} [timeout]  default for CallOptions, in ms
 * @property {AbortSignal} [signal]  disconnects for good
 * @property {Partial<typeof TIMINGS>} [timings]
 */

/**
 * @typedef {object} SubscribeOptions
 * @property {Position | null} [since]  catch up from here
 * @property {TokenSource} [token]  for channels that want one of their own
 * @property {any} [data]  sent with each subscribe
 * @property {boolean} [joinLeave]  ask for `join` and `leave`
 * @property {AbortSignal} [signal]  unsubscribes
 */

/**
 * Why a state was left. Codes below 100 are this module's (`LOCAL`), the others are the server's.
 *
 * @typedef {{ code: number, reason: string }} End
 */

/**
 * What came of subscribing. `wasRecovering` and not `recovered`: something was missed, load the state anew.
 *
 * @typedef {object} Subscribed
 * @property {string} channel
 * @property {boolean} wasRecovering
 * @property {boolean} recovered
 * @property {Position | null} position  null where the channel has no history
 * @property {any} data
 */

/**
 * @typedef {object} Connected
 * @property {string} client  the id of this connection, new each time
 * @property {TransportName} transport
 * @property {string} version  what the server calls itself
 * @property {any} data
 * @property {Subscribed[]} subscriptions  those that the server made, by the token
 */

/**
 * @typedef {object} ClientEvents
 * @property {CustomEvent<End>} connecting  there is no connection, and one is being made
 * @property {CustomEvent<Connected>} connected
 * @property {CustomEvent<End>} disconnected  for good, until `connect()`
 * @property {CustomEvent<Publication>} message  for this user: another's `send`, or a message of the server's
 * @property {CustomEvent<Publication>} publication  in a channel that the server subscribed this client to
 * @property {CustomEvent<ClientInfo & { channel: string }>} join
 * @property {CustomEvent<ClientInfo & { channel: string }>} leave
 * @property {CustomEvent<unknown>} error  what went wrong and will be tried again; to be logged
 */

/**
 * @typedef {object} SubscriptionEvents
 * @property {CustomEvent<End>} subscribing
 * @property {CustomEvent<Subscribed>} subscribed
 * @property {CustomEvent<End>} unsubscribed  for good
 * @property {CustomEvent<Publication>} publication
 * @property {CustomEvent<ClientInfo & { channel: string }>} join
 * @property {CustomEvent<ClientInfo & { channel: string }>} leave
 * @property {CustomEvent<unknown>} error  what went wrong and will be tried again
 */

/** All times, in ms. Each may be set by `ClientOptions.timings`. */
const TIMINGS = {
  /** WebSocket starts so much later than WebTransport: two round trips of most users, and together with opening a
   * WebSocket within 300 ms where UDP is dropped. */
  headStart: 150,
  /** A transport opens, and connect is answered, each within this. */
  open: 5000,
  /** A token is there within this, or is asked for again. */
  token: 15_000,
  /** Nothing heard for so long, and an edge is asked whether it lives. */
  probeAfter: 2000,
  /** It answers within this, or four round trips; else the connection is dead. With the above, under 5 s in all. */
  probePatience: 2000,
  /** A server that is not asked may be late with its own ping by this. */
  pingGrace: 10_000,
  /** The first try after a lost connection comes within this, the next ones within twice as much each, from `retryMin`
   * to `retryMax`; each at random from 0 on, so that the clients of a dead edge do not come all at once. */
  retryFirst: 100,
  retryMin: 500,
  retryMax: 20_000,
  /** A connection that has lived so long counts as a success; what ends sooner is retried as a failure. */
  settled: 5000,
  /** After a failure WebTransport rests so long, doubling each time, while WebSocket works. */
  restMin: 60_000,
  restMax: 1_800_000,
  /** A WebTransport session that dies silently younger than this counts as a failure of WebTransport. */
  mature: 300_000,
  /** How long an opened WebTransport session waits for a quiet moment to take over. Edges wait 10 s for connect. */
  spare: 5000,
};

/** The server's limit for one command, and for the commands of one WebSocket frame, in bytes. */
const COMMAND_BYTES_MAX = 65_536;

/** How many commands may wait for a connection. */
const WAITING_MAX = 1000;

/** Nothing came or went for so long, in ms: a moment to change the transport. */
const QUIET = 1000;

/** The longest time a timer takes, in ms. */
const TIMER_MAX = 2 ** 31 - 1;

/** Codes of this module's own, in errors and events. */
export const LOCAL = Object.freeze({
  /** By the page's own wish. */
  called: 0,
  timeout: 1,
  closed: 2,
  tooLarge: 3,
  noToken: 4,
  silent: 5,
  paused: 6,
  switching: 7,
  full: 8,
});

const EXPIRED = 109;

/** An edge that stops says so with this code. */
const SHUTDOWN = 3001;

/** A command failed. `temporary`: the same may work later. */
export class CausewayError extends Error {
  // A minifier renames classes, and people read names of errors.
  /** @override */
  name = 'CausewayError';

  /**
   * @param {number} code  of the server, or of `LOCAL`
   * @param {string} message
   * @param {boolean} [temporary]
   */
  constructor(code, message, temporary = false) {
    super(message);
    this.code = code;
    this.temporary = temporary;
  }
}

/** Whether it arrived is not known: no answer came, or one that says so. Sending again may deliver it twice. */
export class NotKnownError extends CausewayError {
  /** @override */
  name = 'NotKnownError';
}

/** It was never written: nobody got it, and sending again is safe. */
export class NotSentError extends CausewayError {
  /** @override */
  name = 'NotSentError';
}

/**
 * An EventTarget that knows the types of its events.
 *
 * @template {{ [type: string]: any }} Events
 */
class Emitter extends EventTarget {
  /**
   * @template {keyof Events & string} Type
   * @override
   * @param {Type} type
   * @param {((event: Events[Type]) => void) | EventListenerObject | null} listener
   * @param {boolean | AddEventListenerOptions} [options]
   */
  addEventListener(type, listener, options) {
    super.addEventListener(type, /** @type {EventListener | null} */ (listener), options);
  }

  /**
   * @template {keyof Events & string} Type
   * @override
   * @param {Type} type
   * @param {((event: Events[Type]) => void) | EventListenerObject | null} listener
   * @param {boolean | EventListenerOptions} [options]
   */
  removeEventListener(type, listener, options) {
    super.removeEventListener(type, /** @type {EventListener | null} */ (listener), options);
  }

  /**
   * @internal
   * @template {keyof Events & string} Type
   * @param {Type} type
   * @param {Events[Type]['detail']} detail
   */
  _emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/**
 * Connects to an edge, and stays connected.
 *
 * @param {string | URL | Endpoint | (string | URL | Endpoint)[]} [edges]  where edges are, such as `https://edge.example`,
 *   tried in turn; by default where the page came from
 * @param {ClientOptions} [options]
 * @returns {Client}
 */
export function connect(edges, options) {
  const client = new Client(edges, options);
  client.connect();
  return client;
}

/**
 * A page's connection to an edge, over as many transports as it takes.
 *
 * @extends {Emitter<ClientEvents>}
 */
export class Client extends Emitter {
  /** Which transports may be used, from the next connection on. @type {TransportName[]} */
  transports;

  /** @type {ClientState} */
  #state = 'disconnected';
  /** Why there is no connection. @type {End} */
  #end = { code: LOCAL.called, reason: 'not connected yet' };
  /** @type {(string | URL | Endpoint)[]} */
  #edges;
  /** Which of `#edges` is tried next, or in use. */
  #at = 0;
  /** @type {ClientOptions} */
  #options;
  /** @type {typeof TIMINGS} */
  #timings;
  /** @type {Token} */
  #token;

  /** The one in use, from before connect is written. @type {Transport | null} */
  #transport = null;
  /** Opened, and waiting for a quiet moment. @type {Transport | null} */
  #spare = null;
  /** The try that is under way. @type {AbortController | null} */
  #try = null;
  /** Aborted when what the last try opens is of no use any more. @type {AbortController | null} */
  #opening = null;
  /** Aborted when the client disconnects for good. @type {AbortController} */
  #life = new AbortController();
  #failures = 0;
  /** The page sleeps: no connection is wanted until it wakes. */
  #isPaused = false;

  #id = '';
  #connectedAt = 0;
  /** When anything was last heard; when anything else than an answer to a probe was. */
  #heardAt = 0;
  #busyAt = 0;
  /** @type {number | null} */
  #latency = null;
  /** When an edge was asked whether it lives, until something is heard; else 0. */
  #probedAt = 0;
  /** Between the server's pings, in ms; 0: none come. */
  #pingInterval = 0;
  #wantsPong = false;
  /** Whether this server answers the protocol's `ping`: others may take it for a mistake. */
  #answersPing = false;

  /** The last id that was used. */
  #lastId = 0;
  /** Written, unanswered. @type {Map<number, Call>} */
  #pending = new Map();
  /** Not written yet. @type {Set<Call>} */
  #waiting = new Set();
  /** Written in this turn of the page's event loop. @type {string[]} */
  #lines = [];
  /** @type {Map<string, Subscription>} */
  #subscriptions = new Map();
  /** Channels that the server subscribed this client to. @type {Map<string, Position | null>} */
  #serverSide = new Map();

  #retryTimer = new Timer();
  #watchTimer = new Timer();
  #refreshTimer = new Timer();
  #upgradeTimer = new Timer();
  #spareTimer = new Timer();

  /**
   * @param {string | URL | Endpoint | (string | URL | Endpoint)[]} [edges]
   * @param {ClientOptions} [options]
   */
  constructor(edges = globalThis.location?.origin ?? '', options = {}) {
    super();
    this.#edges = Array.isArray(edges) ? edges : [edges];
    this.#options = options;
    this.#timings = { ...TIMINGS, ...options.timings };
    this.#token = new Token(options.token);
    this.transports = options.transports ?? ['webtransport', 'websocket'];
    options.signal?.addEventListener('abort', () => this.disconnect());
  }

  /** @returns {ClientState} */
  get state() {
    return this.#state;
  }

  /** The transport in use, or null. @returns {TransportName | null} */
  get transport() {
    return this.#state === 'connected' && this.#transport ? this.#transport.name : null;
  }

  /** The id of the current connection, or ''. */
  get id() {
    return this.#state === 'connected' ? this.#id : '';
  }

  /** The last round trip that was measured, in ms, or null. @returns {number | null} */
  get latency() {
    return this.#latency;
  }

  /** Begins to connect. Where that is so already, tries at once instead of waiting for the next try. */
  connect() {
    if (this.#options.signal?.aborted) return;
    if (this.#state === 'disconnected') {
      this.#life = new AbortController();
      this.#isPaused = false;
      this.#failures = 0;
      this.#listen(this.#life.signal);
      this.#connecting({ code: LOCAL.called, reason: 'connect called' });
    }
    if (this.#state === 'connecting' && !this.#try && !this.#isPaused) this.#tryNow();
  }

  /** Disconnects for good. What waits is rejected; subscriptions stay, and are subscribed again after `connect()`. */
  disconnect() {
    this.#stop({ code: LOCAL.called, reason: 'disconnect called' });
  }

  /**
   * Waits until there is a connection. Rejects when the client disconnects for good.
   *
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<void>}
   */
  ready({ signal } = {}) {
    if (this.#state === 'disconnected') return Promise.reject(notSent(this.#end));
    return this.#state === 'connected' ? Promise.resolve() : until(this, 'connected', 'disconnected', signal);
  }

  /**
   * Sends `data` to all connections of `user`, and says how many have it; 0: the user is connected nowhere, and will not
   * get it later. Waits for a connection, if need be.
   *
   * @param {string} user
   * @param {any} data
   * @param {CallOptions} [options]
   * @returns {Promise<{ delivered: number }>}
   * @throws {NotKnownError} it may have arrived or not
   * @throws {NotSentError} nobody got it: there was no connection in time
   * @throws {CausewayError} no such user can exist, or the like
   */
  async send(user, data, options) {
    try {
      return await this.rpc('send', { to: user, data: data ?? null }, options);
    } catch (error) {
      if (!(error instanceof CausewayError) || !error.temporary || error instanceof NotSentError) throw error;
      throw new NotKnownError(error.code, error.message, true);
    }
  }

  /**
   * Publishes `data` to all who are subscribed to `channel`. The server has accepted it when this resolves.
   *
   * @param {string} channel
   * @param {any} data
   * @param {CallOptions} [options]
   * @returns {Promise<void>}
   */
  async publish(channel, data, options) {
    await this.#call('publish', { channel, data: data ?? null }, options);
  }

  /**
   * Calls what the server offers as `method`.
   *
   * @param {string} method
   * @param {any} [data]
   * @param {CallOptions} [options]
   * @returns {Promise<any>}
   */
  async rpc(method, data, options) {
    return (await this.#call('rpc', { method, data }, options)).data;
  }

  /**
   * Reads what was published in `channel`: at most `limit`, after `since` or from the oldest on, or backwards. A limit of
   * 0 only asks for the position.
   *
   * @param {string} channel
   * @param {CallOptions & { limit?: number, since?: Position, reverse?: boolean }} [options]
   * @returns {Promise<{ publications: Publication[], position: Position }>}
   */
  async history(channel, { limit, since, reverse, ...options } = {}) {
    const result = await this.#call('history', { channel, limit, since, reverse }, options);
    const publications = (result.publications ?? []).map((/** @type {any} */ each) => publication(channel, each));
    return { publications, position: { offset: result.offset ?? 0, epoch: result.epoch ?? '' } };
  }

  /**
   * Who is subscribed to `channel`.
   *
   * @param {string} channel
   * @param {CallOptions} [options]
   * @returns {Promise<ClientInfo[]>}
   */
  async presence(channel, options) {
    return Object.values((await this.#call('presence', { channel }, options)).presence ?? {});
  }

  /**
   * Measures one round trip to the edge, in ms. Servers other than edges of Causeway may not offer it (108).
   *
   * @param {CallOptions} [options]
   * @returns {Promise<number>}
   */
  async ping(options) {
    await this.ready(options);
    if (!this.#answersPing) throw new CausewayError(108, 'not available');
    const begun = performance.now();
    await this.#call('ping', {}, options);
    return (this.#latency = performance.now() - begun);
  }

  /**
   * Subscribes to `channel`, now and after each reconnect.
   *
   * @param {string} channel
   * @param {SubscribeOptions} [options]
   * @returns {Subscription}
   * @throws {CausewayError} 105: there is such a subscription already
   */
  subscribe(channel, options = {}) {
    options.signal?.throwIfAborted();
    if (this.#subscriptions.has(channel)) throw new CausewayError(105, `already subscribed to ${channel}`);
    const subscription = new Subscription(this, channel, options, {
      tell: (method, params, answered, refused) => this.#tell(method, params, answered, refused),
      call: (method, params) => this.#call(method, params),
      isOpen: () => this.#transport !== null,
      timings: this.#timings,
      forget: () => {
        if (this.#subscriptions.get(channel) === subscription) this.#subscriptions.delete(channel);
      },
    });
    this.#subscriptions.set(channel, subscription);
    subscription._begin();
    return subscription;
  }

  /**
   * The subscription to `channel`, if there is one.
   *
   * @param {string} channel
   * @returns {Subscription | undefined}
   */
  subscription(channel) {
    return this.#subscriptions.get(channel);
  }

  // The way to a connection.

  /** @param {End} end */
  #connecting(end) {
    this.#end = end;
    if (this.#state === 'connecting') return;
    this.#state = 'connecting';
    for (const subscription of this.#subscriptions.values()) subscription._lost(end);
    this._emit('connecting', end);
  }

  /** @param {Transport | null} [spare] */
  #tryNow(spare = null) {
    this.#retryTimer.stop();
    this.#try?.abort();
    const attempt = (this.#try = new AbortController());
    this.#connectOnce(spare, attempt.signal).catch((error) => {
      if (attempt.signal.aborted) return;
      this.#try = null;
      if (error instanceof Terminal) return this.#stop(error.end);
      this._emit('error', error);
      this.#turnToNextEdge();
      this.#retry({ code: LOCAL.closed, reason: `${error?.message ?? error}` });
    });
  }

  /**
   * One try: a token, a transport, and connect with all subscriptions behind it.
   *
   * @param {Transport | null} spare
   * @param {AbortSignal} signal
   */
  async #connectOnce(spare, signal) {
    const { key } = this.#urls;
    let token;
    try {
      token = await this.#token.current(AbortSignal.any([signal, AbortSignal.timeout(this.#timings.token)]));
      signal.throwIfAborted();
      spare ??= await this.#race(signal);
    } catch (error) {
      spare?.close(CLOSE, 'not needed');
      throw error;
    }
    const transport = spare;
    if (signal.aborted) return transport.close(CLOSE, 'not needed');
    this.#use(transport);
    await new Promise((resolve, reject) => {
      const params = {
        token: token || undefined,
        data: this.#options.data,
        name: 'causeway.js',
        subs: this.#positions(),
      };
      const call = new Call('connect', params, { timeout: this.#timings.open, signal }, resolve, reject);
      call.answered = (result) => this.#greeted(transport, result);
      const begun = performance.now();
      this.#write(call, () => (this.#latency = performance.now() - begun));
      for (const subscription of this.#subscriptions.values()) subscription._send();
    }).catch((error) => {
      if (this.#transport === transport) this.#drop('connect failed');
      // It opened, and does not serve.
      if (error instanceof NotKnownError && transport.name === 'webtransport')
        rests.begin(key, this.#timings);
      if (error.code === EXPIRED && this.#token.renew()) throw error;
      if (error.code >= 100 && !error.temporary) throw new Terminal({ code: error.code, reason: error.message });
      throw error;
    });
  }

  /**
   * Opens a transport: WebTransport first, WebSocket when that fails or is slow, whichever opens first.
   *
   * @param {AbortSignal} signal
   * @returns {Promise<Transport>}
   */
  #race(signal) {
    const urls = this.#urls;
    // What has lost the race goes on opening behind it, as long as the connection lives.
    const opening = (this.#opening = new AbortController());
    const may = (/** @type {TransportName} */ name) => this.transports.includes(name);
    const hasSocket = may('websocket') && urls.websocket !== '';
    const hasSession = may('webtransport') && canWebTransport(urls);
    return new Promise((resolve, reject) => {
      const headStart = new Timer();
      const lastHope = new Timer();
      let isSocketStarted = false;
      let isSessionStarted = false;
      let running = 0;
      /** @type {TransportName | null} */
      let winner = null;
      let hasSessionFailed = false;

      const giveUp = (/** @type {unknown} */ reason) => {
        if (winner) return;
        headStart.stop();
        lastHope.stop();
        opening.abort();
        reject(reason);
      };
      const won = (/** @type {Transport} */ transport) => {
        headStart.stop();
        lastHope.stop();
        winner = transport.name;
        resolve(transport);
        if (hasSessionFailed) this.#rest(urls.key);
      };
      const failed = (/** @type {unknown} */ error) => {
        running -= 1;
        if (running === 0) giveUp(error);
      };
      const startSocket = () => {
        if (!hasSocket || isSocketStarted || winner || signal.aborted) return;
        isSocketStarted = true;
        running += 1;
        const late = (/** @type {Transport} */ transport) => transport.close(CLOSE, 'not needed');
        this.#openWebSocket(urls, opening.signal).then(
          (transport) => (winner ? late(transport) : won(transport)),
          (error) => {
            // Resting or not, WebTransport is the last hope; but where an edge has died, it says nothing for seconds.
            // So it gets little time at first, and more with each failure.
            startSession();
            const patience = Math.min(this.#timings.open, this.#timings.retryMin * 2 ** this.#failures);
            lastHope.start(patience, () => giveUp(error));
            failed(error);
          },
        );
      };
      const startSession = () => {
        if (!hasSession || isSessionStarted || winner || signal.aborted) return;
        isSessionStarted = true;
        running += 1;
        headStart.start(this.#timings.headStart, startSocket);
        this.#openWebTransport(urls, opening.signal).then(
          (transport) => (winner ? this.#keepSpare(transport) : won(transport)),
          (error) => {
            if (opening.signal.aborted) return failed(error);
            this._emit('error', error);
            // Where nothing can be reached, that is not the fault of WebTransport.
            if (winner) this.#rest(urls.key);
            else hasSessionFailed = true;
            startSocket();
            failed(error);
          },
        );
      };

      if (!hasSocket || rests.left(urls.key) === 0) startSession();
      if (running === 0) startSocket();
      if (running === 0) reject(new Error('no transport may be used here'));
      signal.addEventListener('abort', () => giveUp(signal.reason), { once: true });
    });
  }

  /**
   * @param {Urls} urls
   * @param {AbortSignal} signal
   * @returns {Promise<Transport>}
   */
  async #openWebSocket({ websocket }, signal) {
    return this.#open(new SocketTransport(websocket), signal);
  }

  /**
   * @param {Urls} urls
   * @param {AbortSignal} signal
   * @returns {Promise<Transport>}
   */
  async #openWebTransport(urls, signal) {
    const { url, hashes } = await whereWebTransport(urls, this.#options.certificateHashes ?? [], this.#timings.open);
    signal.throwIfAborted();
    return this.#open(new SessionTransport(url, hashes), signal);
  }

  /**
   * @param {Transport} transport
   * @param {AbortSignal} signal
   * @returns {Promise<Transport>}
   */
  async #open(transport, signal) {
    const limit = new Timer();
    const isOver = new AbortController();
    /** @type {Promise<never>} */
    const tooLate = new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { signal: isOver.signal });
      limit.start(this.#timings.open, () => reject(new Error(`${transport.name} did not open in time`)));
    });
    try {
      await Promise.race([transport.opened, tooLate]);
      return transport;
    } catch (error) {
      transport.close(CLOSE, 'not needed');
      throw error;
    } finally {
      isOver.abort();
      limit.stop();
    }
  }

  /** @param {Transport} transport */
  #use(transport) {
    this.#transport = transport;
    this.#heardAt = performance.now();
    this.#probedAt = 0;
    transport.ended.then((end) => {
      if (this.#transport === transport) this.#lost(end);
    });
    transport.listen((lines) => {
      if (this.#transport === transport) this.#heard(lines);
    });
  }

  /**
   * @param {Transport} transport
   * @param {any} result
   */
  #greeted(transport, result) {
    const now = performance.now();
    this.#try = null;
    this.#state = 'connected';
    this.#id = result.client ?? '';
    this.#connectedAt = this.#busyAt = now;
    this.#pingInterval = (result.ping ?? 0) * 1000;
    this.#wantsPong = result.pong === true;
    this.#answersPing = /^Causeway\b/.test(result.version ?? '');
    const subs = Object.entries(/** @type {Record<string, any>} */ (result.subs ?? {}));
    this.#serverSide = new Map(subs.map(([channel, sub]) => [channel, positionOf(sub)]));
    this.#watch();
    this.#refreshBefore(result);
    this.#planUpgrade();
    for (const call of this.#waiting) this.#write(call);
    this.#waiting.clear();
    this._emit('connected', {
      client: this.#id,
      transport: transport.name,
      version: result.version ?? '',
      data: result.data,
      subscriptions: subs.map(([channel, sub]) => subscribed(channel, sub)),
    });
    for (const [channel, sub] of subs) {
      for (const each of sub.publications ?? [])
        if (this.#transport === transport) this.#publicationCame(channel, each);
    }
  }

  /** Where to go on in channels that the server subscribed this client to. */
  #positions() {
    const known = [...this.#serverSide].filter(([, position]) => position);
    return known.length > 0
      ? Object.fromEntries(known.map(([channel, position]) => [channel, { recover: true, ...position }]))
      : undefined;
  }

  // The end of a connection.

  /**
   * A connection ended. Codes say whether to come back.
   *
   * @param {End} end
   */
  #lost(end) {
    if (isTerminal(end.code)) return this.#stop(end);
    if (end.code === 3005 || end.code === 3014) this.#token.renew();
    const isTrying = this.#try !== null;
    // A try turns by itself when its connect fails.
    if (!isTrying && (end.code < 3000 || end.code === SHUTDOWN)) this.#turnToNextEdge();
    const lived = performance.now() - this.#connectedAt;
    if (!isTrying && lived > this.#timings.settled) this.#failures = 0;
    this.#drop(end.reason);
    // A try that is under way hears of it by its connect, and is retried there.
    if (!isTrying) this.#retry(end);
  }

  /** Nothing was heard of this connection for too long. */
  #wasSilent() {
    const transport = this.#transport;
    const isYoung = performance.now() - this.#connectedAt < this.#timings.mature;
    if (transport?.name === 'webtransport' && isYoung) rests.begin(this.#urls.key, this.#timings);
    this.#lost({ code: LOCAL.silent, reason: 'the edge does not answer' });
  }

  #turnToNextEdge() {
    this.#at = (this.#at + 1) % this.#edges.length;
  }

  /** @param {End} end */
  #retry(end) {
    this.#connecting(end);
    if (this.#isPaused) return;
    const { retryFirst, retryMin, retryMax } = this.#timings;
    const most = this.#failures === 0 ? retryFirst : Math.min(retryMax, retryMin * 2 ** (this.#failures - 1));
    this.#failures += 1;
    this.#retryTimer.start(Math.random() * most, () => this.#tryNow());
  }

  /**
   * Lets go of the transport and of all that belongs to it. What was written and not answered is not known.
   *
   * @param {string} reason
   */
  #drop(reason) {
    const transport = this.#transport;
    this.#transport = null;
    this.#latency = null;
    this.#lines.length = 0;
    for (const timer of [this.#watchTimer, this.#refreshTimer, this.#upgradeTimer]) timer.stop();
    this.#opening?.abort();
    this.#dropSpare();
    transport?.close(CLOSE, reason);
    const unanswered = [...this.#pending.values()];
    this.#pending.clear();
    for (const call of unanswered) call.reject(new NotKnownError(LOCAL.closed, `no answer: ${reason}`, true));
  }

  /**
   * Disconnects for good.
   *
   * @param {End} end
   */
  #stop(end) {
    if (this.#state === 'disconnected') return;
    this.#life.abort();
    this.#cease(end.reason);
    this.#state = 'disconnected';
    this.#end = end;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const call of waiting) call.reject(notSent(end));
    for (const subscription of this.#subscriptions.values()) subscription._lost(end);
    this._emit('disconnected', end);
  }

  /**
   * Stops what is under way, without saying anything of the state.
   *
   * @param {string} reason
   */
  #cease(reason) {
    this.#try?.abort();
    this.#try = null;
    this.#retryTimer.stop();
    // What was said just before, such as a page's last word, goes out.
    this.#flush();
    this.#drop(reason);
  }

  // Commands.

  /**
   * @param {string} method
   * @param {object} params
   * @param {CallOptions} [options]
   * @returns {Promise<any>}
   */
  #call(method, params, { signal, timeout = this.#options.timeout ?? 5000 } = {}) {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#state === 'disconnected') throw notSent(this.#end);
      const call = new Call(method, params, { signal, timeout }, resolve, reject);
      if (method !== 'ping') this.#busyAt = performance.now();
      if (this.#state === 'connected') return this.#write(call);
      if (this.#waiting.size >= WAITING_MAX)
        return call.reject(new NotSentError(LOCAL.full, 'too many commands wait', true));
      this.#waiting.add(call);
      call.onEnd = () => this.#waiting.delete(call);
      call.limit(() => new NotSentError(LOCAL.timeout, `not sent in time: ${this.#end.reason}`, true));
    });
  }

  /**
   * Writes a command. From here on only its answer says what became of it.
   *
   * @param {Call} call
   * @param {() => void} [heard]
   */
  #write(call, heard) {
    const id = (this.#lastId += 1);
    const line = `{"id":${id},"${call.method}":${call.json}}`;
    const size = bytesOf(line);
    if (size > COMMAND_BYTES_MAX) {
      return call.reject(new NotSentError(LOCAL.tooLarge, `${size} bytes, and ${COMMAND_BYTES_MAX} is the most`));
    }
    this.#pending.set(id, call);
    call.heard = heard;
    call.onEnd = () => this.#pending.delete(id);
    call.limit(() => new NotKnownError(LOCAL.timeout, 'no answer in time', true));
    this.#queue(line);
  }

  /** What is written in one turn of the page's event loop goes out together. @param {string} line */
  #queue(line) {
    if (this.#lines.push(line) > 1) return;
    queueMicrotask(() => this.#flush());
  }

  #flush() {
    const lines = this.#lines.splice(0);
    if (lines.length > 0) this.#transport?.write(lines);
  }

  /**
   * Writes a command of a subscription, even where connect is not answered yet. It waits for its answer as long as the
   * connection lives: who gives up a subscribe too early is told 105 by the next one.
   *
   * @param {string} method
   * @param {object} params
   * @param {(result: any) => void} answered
   * @param {(error: CausewayError) => void} refused
   */
  #tell(method, params, answered, refused) {
    const call = new Call(method, params, {}, () => {}, refused);
    call.answered = answered;
    this.#write(call);
  }

  // What comes.

  /** @param {string[]} lines */
  #heard(lines) {
    const transport = this.#transport;
    this.#heardAt = performance.now();
    this.#probedAt = 0;
    for (const line of lines) {
      let reply;
      try {
        reply = JSON.parse(line) ?? {};
      } catch {
        return this.#lost({ code: LOCAL.closed, reason: 'the server does not speak JSON' });
      }
      if (reply.id) this.#answerCame(reply);
      else if (reply.push) this.#pushCame(reply.push);
      else if (this.#wantsPong) this.#queue('{}');
      // What was just handled may have been the end.
      if (this.#transport !== transport) return;
    }
  }

  /** @param {any} reply */
  #answerCame(reply) {
    const call = this.#pending.get(reply.id);
    if (!call) return;
    call.heard?.();
    const { error } = reply;
    if (error) return call.reject(new CausewayError(error.code, error.message ?? '', error.temporary === true));
    const result = reply[call.method] ?? {};
    call.resolve(result);
  }

  /** @param {any} push */
  #pushCame(push) {
    const { channel = '' } = push;
    const subscription = this.#subscriptions.get(channel);
    if (push.pub) {
      this.#publicationCame(channel, push.pub);
    } else if (push.join || push.leave) {
      const type = push.join ? 'join' : 'leave';
      const about = { channel, ...push[type].info };
      if (subscription) subscription._emit(type, about);
      else this._emit(type, about);
    } else if (push.message) {
      this._emit('message', { channel: '', data: push.message.data, user: null });
    } else if (push.unsubscribe) {
      if (subscription) subscription._unsubscribedBy(push.unsubscribe);
      else this.#serverSide.delete(channel);
    } else if (push.subscribe) {
      this.#serverSide.set(channel, positionOf(push.subscribe));
    } else if (push.disconnect) {
      this.#lost({ code: push.disconnect.code, reason: push.disconnect.reason ?? '' });
    }
  }

  /**
   * @param {string} channel
   * @param {any} pub
   */
  #publicationCame(channel, pub) {
    this.#busyAt = performance.now();
    const subscription = this.#subscriptions.get(channel);
    if (subscription) return subscription._publicationCame(pub);
    const position = this.#serverSide.get(channel);
    if (!isNew(position, pub)) return;
    this._emit(channel.startsWith('#') ? 'message' : 'publication', publication(channel, pub));
  }

  // Signs of life.

  /** Looks whether the edge lives, and when to look again. */
  #watch() {
    const { probeAfter, probePatience, pingGrace } = this.#timings;
    const now = performance.now();
    const quiet = now - this.#heardAt;
    const patience = Math.max(probePatience, 4 * (this.#latency ?? 0));
    const silence = this.#pingInterval > 0 ? this.#pingInterval + pingGrace : Infinity;
    if (this.#probedAt > 0 && now - this.#probedAt >= patience) return this.#wasSilent();
    if (quiet >= silence) return this.#wasSilent();
    if (this.#probedAt === 0 && quiet >= probeAfter && isVisible()) this.#probe();
    const next = this.#probedAt > 0 ? this.#probedAt + patience : this.#heardAt + (isVisible() ? probeAfter : silence);
    const due = Math.min(next, this.#heardAt + silence);
    // A hidden page has slow timers, and need not know at once.
    const delay = Math.min(Math.max(due - now, 50), isVisible() && this.#answersPing ? probeAfter : 5000);
    const wanted = now + delay;
    this.#watchTimer.start(delay, () => {
      const late = performance.now() - wanted;
      // The page stood still: what came meanwhile is heard first.
      if (late > 500) this.#watchTimer.start(500, () => this.#watch());
      else this.#watch();
    });
  }

  /** Asks the edge whether it lives. */
  #probe() {
    if (!this.#answersPing || this.#probedAt > 0) return;
    this.#probedAt = performance.now();
    this.ping({ timeout: this.#timings.pingGrace }).catch(() => {});
  }

  /** Something suggests that the connection may be gone. */
  #doubt() {
    if (this.#state === 'connected') {
      this.#probe();
      this.#watch();
    } else if (this.#state === 'connecting') {
      this.connect();
    }
  }

  /**
   * Follows the page: hidden for good or frozen, it lets go; coming back, it connects at once.
   *
   * @param {AbortSignal} signal
   */
  #listen(signal) {
    const on = (
      /** @type {EventTarget | undefined} */ target,
      /** @type {string} */ type,
      /** @type {() => void} */ act,
    ) => target?.addEventListener?.(type, act, { signal });
    const page = globalThis.document;
    const newNetwork = () => {
      rests.end(this.#urls.key);
      this.#failures = 0;
      this.#planUpgrade();
      this.#doubt();
    };
    // From Wi-Fi to a mobile network, say; it also changes with every estimate of its speed.
    const network = /** @type {any} */ (globalThis.navigator)?.connection;
    let kind = network?.type;
    on(globalThis, 'pagehide', () => this.#pause('the page is left'));
    on(globalThis, 'pageshow', () => this.#resume());
    on(page, 'freeze', () => this.#pause('the page is frozen'));
    on(page, 'resume', () => this.#resume());
    on(page, 'visibilitychange', () => isVisible() && this.#doubt());
    on(globalThis, 'online', newNetwork);
    on(globalThis, 'offline', () => this.#doubt());
    on(network, 'change', () => {
      if (network.type === kind) return;
      kind = network.type;
      newNetwork();
    });
  }

  /** @param {string} reason */
  #pause(reason) {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#cease(reason);
    this.#connecting({ code: LOCAL.paused, reason });
  }

  #resume() {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#failures = 0;
    this.connect();
  }

  // Tokens.

  /** @param {{ expires?: boolean, ttl?: number }} result */
  #refreshBefore({ expires, ttl }) {
    if (!expires || !ttl || !this.#token.canRenew) return;
    this.#refreshTimer.start(beforeExpiry(ttl), () => this.#refresh());
  }

  async #refresh() {
    const transport = this.#transport;
    try {
      const token = await this.#token.fresh(this.#life.signal, 'refresh');
      const result = await this.#call('refresh', { token });
      if (this.#transport === transport) this.#refreshBefore(result);
    } catch (error) {
      if (this.#transport !== transport || this.#state !== 'connected') return;
      this._emit('error', error);
      // The edge ends what is not refreshed (3005); until then, again.
      if (error instanceof Terminal) this.#stop(error.end);
      else this.#refreshTimer.start(5000 + Math.random() * 5000, () => this.#refresh());
    }
  }

  // Back to WebTransport.

  /** Of the edge in use, or to be tried next. */
  get #urls() {
    return urlsOf(this.#edges[this.#at] ?? '');
  }

  /** @param {string} key */
  #rest(key) {
    rests.begin(key, this.#timings);
    this.#planUpgrade();
  }

  /** On WebSocket, tries WebTransport again when it has rested. */
  #planUpgrade() {
    this.#upgradeTimer.stop();
    if (this.#state !== 'connected' || this.#spare) return;
    const urls = this.#urls;
    if (this.#transport?.name === 'webtransport') {
      this.#upgradeTimer.start(this.#timings.mature, () => rests.end(urls.key));
    } else if (this.transports.includes('webtransport') && canWebTransport(urls)) {
      // Not resting, and yet not in use: it was too slow, and may open any moment by itself.
      this.#upgradeTimer.start(rests.left(urls.key) || this.#timings.restMin, () => this.#upgrade(urls));
    }
  }

  /** @param {Urls} urls */
  async #upgrade(urls) {
    const transport = this.#transport;
    if (!isVisible()) return this.#planUpgrade();
    try {
      const session = await this.#openWebTransport(urls, this.#life.signal);
      if (this.#transport === transport) this.#keepSpare(session);
      else session.close(CLOSE, 'not needed');
    } catch {
      if (this.#transport === transport) this.#rest(urls.key);
    }
  }

  /**
   * Keeps an opened session until nothing is under way, so that taking it costs nobody anything.
   *
   * @param {Transport} session
   */
  #keepSpare(session) {
    this.#dropSpare();
    if (this.#transport?.name !== 'websocket') return session.close(CLOSE, 'not needed');
    this.#spare = session;
    this.#upgradeTimer.stop();
    session.ended.then(() => this.#spare === session && this.#giveSpareUp());
    const until = performance.now() + this.#timings.spare;
    const look = () => {
      const now = performance.now();
      const isQuiet = this.#state === 'connected' && this.#pending.size === 0 && now - this.#busyAt > QUIET;
      if (isQuiet) this.#useSpare(session);
      else if (now > until) this.#giveSpareUp();
      else this.#spareTimer.start(QUIET / 5, look);
    };
    look();
  }

  #giveSpareUp() {
    this.#dropSpare();
    this.#planUpgrade();
  }

  #dropSpare() {
    this.#spareTimer.stop();
    this.#spare?.close(CLOSE, 'not needed');
    this.#spare = null;
  }

  /**
   * There is a gap of one round trip, as in any reconnect: two connections at once would mean messages that come twice,
   * or receipts that count a connection which nobody listens to.
   *
   * @param {Transport} session
   */
  #useSpare(session) {
    this.#spare = null;
    this.#drop('switching to WebTransport');
    this.#connecting({ code: LOCAL.switching, reason: 'switching to WebTransport' });
    this.#tryNow(session);
  }
}

/**
 * What a subscription needs of its client.
 *
 * @typedef {object} Host
 * @property {(method: string, params: object, answered: (result: any) => void,
 *   refused: (error: CausewayError) => void) => void} tell
 * @property {(method: string, params: object) => Promise<any>} call
 * @property {() => boolean} isOpen  there is a transport, and connect was written on it
 * @property {typeof TIMINGS} timings
 * @property {() => void} forget
 */

/**
 * A page's interest in a channel. It outlives connections, and ends by `unsubscribe()`, by its signal, or by the server.
 *
 * @extends {Emitter<SubscriptionEvents>}
 */
export class Subscription extends Emitter {
  /** @type {string} @readonly */
  channel;

  /** @type {Client} */
  #client;
  /** @type {Host} */
  #host;
  /** @type {SubscribeOptions} */
  #options;
  /** @type {Token} */
  #token;
  /** @type {SubscriptionState} */
  #state = 'subscribing';
  /** Up to where publications were seen; null without history. @type {Position | null} */
  #position;
  /** @type {End} */
  #end = { code: LOCAL.called, reason: 'subscribe called' };
  /** A subscribe was written on this connection, and is not answered. */
  #isAsked = false;
  #failures = 0;
  #retryTimer = new Timer();
  #refreshTimer = new Timer();
  #life = new AbortController();

  /**
   * @internal
   * @param {Client} client
   * @param {string} channel
   * @param {SubscribeOptions} options
   * @param {Host} host
   */
  constructor(client, channel, options, host) {
    super();
    this.channel = channel;
    this.#client = client;
    this.#host = host;
    this.#options = options;
    this.#token = new Token(options.token, channel);
    this.#position = options.since ? { ...options.since } : null;
    options.signal?.addEventListener('abort', () => this.unsubscribe(), { signal: this.#life.signal });
  }

  /** @returns {SubscriptionState} */
  get state() {
    return this.#state;
  }

  /** Up to where publications were seen, for `since` of a later page; null without history. @returns {Position | null} */
  get position() {
    return this.#position && { ...this.#position };
  }

  /**
   * Waits until it is subscribed. Rejects when it ends.
   *
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<void>}
   */
  ready({ signal } = {}) {
    if (this.#state === 'unsubscribed') return Promise.reject(notSent(this.#end));
    return this.#state === 'subscribed' ? Promise.resolve() : until(this, 'subscribed', 'unsubscribed', signal);
  }

  /**
   * Publishes to this channel, as `Client.publish` does.
   *
   * @param {any} data
   * @param {CallOptions} [options]
   * @returns {Promise<void>}
   */
  publish(data, options) {
    return this.#client.publish(this.channel, data, options);
  }

  /** Ends it. */
  unsubscribe() {
    const isKnown = this.#state === 'subscribed' || this.#isAsked;
    if (!this.#finish({ code: LOCAL.called, reason: 'unsubscribe called' })) return;
    // Whatever is answered, nobody listens any more.
    const ignore = () => {};
    if (isKnown && this.#host.isOpen()) this.#host.tell('unsubscribe', { channel: this.channel }, ignore, ignore);
  }

  /** @internal */
  _begin() {
    if (this.#host.isOpen()) this._send();
    else if (this.#token.wantsAsking) this.#prepare();
  }

  /**
   * Writes a subscribe, or gets the token that it needs first.
   *
   * @internal
   */
  _send() {
    if (this.#state !== 'subscribing' || this.#isAsked) return;
    if (this.#token.wantsAsking) return this.#prepare();
    this.#retryTimer.stop();
    this.#isAsked = true;
    const { data, joinLeave } = this.#options;
    const position = this.#position ? { recover: true, ...this.#position } : {};
    const token = this.#token.value || undefined;
    const params = { channel: this.channel, token, data, recoverable: true, join_leave: joinLeave, ...position };
    this.#host.tell(
      'subscribe',
      params,
      (result) => this.#subscribed(result),
      (error) => this.#refused(error),
    );
  }

  #prepare() {
    this.#token.current(this.#life.signal).then(
      () => this.#host.isOpen() && this._send(),
      (error) => this.#failed(error),
    );
  }

  /** @param {any} result */
  #subscribed(result) {
    if (this.#state !== 'subscribing') return;
    this.#isAsked = false;
    this.#failures = 0;
    this.#state = 'subscribed';
    const outcome = subscribed(this.channel, result);
    this.#position = outcome.position;
    this.#refreshBefore(result);
    this._emit('subscribed', outcome);
    for (const pub of result.publications ?? []) this._publicationCame(pub);
  }

  /** @param {CausewayError} error */
  #refused(error) {
    if (!this.#isAsked) return;
    this.#isAsked = false;
    // The connection went; the next one subscribes.
    if (this.#state !== 'subscribing' || error instanceof NotKnownError) return;
    if (error.code === EXPIRED && this.#token.renew()) return this.#failed(error);
    if (error.temporary) return this.#failed(error);
    this.#finish({ code: error.code, reason: error.message });
  }

  /** @param {unknown} error */
  #failed(error) {
    if (this.#state !== 'subscribing') return;
    if (error instanceof Terminal) return void this.#finish(error.end);
    this._emit('error', error);
    const { retryMin, retryMax } = this.#host.timings;
    const most = Math.min(retryMax, retryMin * 2 ** this.#failures);
    this.#failures += 1;
    this.#retryTimer.start(Math.random() * most, () => this._begin());
  }

  /**
   * The connection went.
   *
   * @internal
   * @param {End} end
   */
  _lost(end) {
    this.#isAsked = false;
    this.#refreshTimer.stop();
    this.#retryTimer.stop();
    if (this.#state === 'subscribed') this.#subscribing(end);
  }

  /** @param {End} end */
  #subscribing(end) {
    this.#state = 'subscribing';
    this._emit('subscribing', end);
  }

  /**
   * @internal
   * @param {any} push
   */
  _unsubscribedBy({ code = 0, reason = '' }) {
    if (this.#state !== 'subscribed') return;
    if (code < 2500) return void this.#finish({ code, reason });
    if (code !== 2500) this.#token.renew();
    if (code === 2502) this.#position = null;
    this.#refreshTimer.stop();
    this.#subscribing({ code, reason });
    // After a fail-over all of a room is told so at once.
    this.#retryTimer.start(Math.random() * this.#host.timings.retryMin, () => this._begin());
  }

  /**
   * @internal
   * @param {any} pub
   */
  _publicationCame(pub) {
    if (this.#state !== 'subscribed' || !isNew(this.#position, pub)) return;
    this._emit('publication', publication(this.channel, pub));
  }

  /** @param {{ expires?: boolean, ttl?: number }} result */
  #refreshBefore({ expires, ttl }) {
    if (!expires || !ttl || !this.#token.canRenew) return;
    this.#refreshTimer.start(beforeExpiry(ttl), () => this.#refresh());
  }

  async #refresh() {
    try {
      const token = await this.#token.fresh(this.#life.signal, 'refresh');
      this.#refreshBefore(await this.#host.call('sub_refresh', { channel: this.channel, token }));
    } catch (error) {
      if (this.#state !== 'subscribed') return;
      if (error instanceof Terminal) return this.unsubscribe();
      this._emit('error', error);
      this.#refreshTimer.start(10_000 + Math.random() * 10_000, () => this.#refresh());
    }
  }

  /** @param {End} end */
  #finish(end) {
    if (this.#state === 'unsubscribed') return false;
    this.#state = 'unsubscribed';
    this.#end = end;
    this.#life.abort();
    this.#retryTimer.stop();
    this.#refreshTimer.stop();
    this.#host.forget();
    this._emit('unsubscribed', end);
    return true;
  }
}

/** A command on its way. */
class Call {
  /**
   * @param {string} method
   * @param {object} params
   * @param {CallOptions} options
   * @param {(result: any) => void} resolve
   * @param {(error: any) => void} reject
   */
  constructor(method, params, { signal, timeout }, resolve, reject) {
    this.method = method;
    this.json = JSON.stringify(params);
    /** Called with the result, before anything that came behind it is handled. @type {((result: any) => void) | undefined} */
    this.answered = undefined;
    /** Called when the answer came, whatever it is. @type {(() => void) | undefined} */
    this.heard = undefined;
    /** Called when it is over, to take it out of where it is kept. */
    this.onEnd = () => {};
    this.timeout = timeout;
    this.timer = new Timer();
    this.signal = signal;
    this.onAbort = () => this.reject(signal?.reason);
    this.resolved = resolve;
    this.rejected = reject;
    signal?.addEventListener('abort', this.onAbort);
  }

  /** From now on `timeout` counts. @param {() => Error} error */
  limit(error) {
    if (this.timeout !== undefined) this.timer.start(this.timeout, () => this.reject(error()));
  }

  /** @param {any} result */
  resolve(result) {
    this.#end();
    this.answered?.(result);
    this.resolved(result);
  }

  /** @param {any} error */
  reject(error) {
    this.#end();
    this.rejected(error);
  }

  #end() {
    this.timer.stop();
    this.signal?.removeEventListener('abort', this.onAbort);
    this.onEnd();
  }
}

/** A token, and where the next one comes from. */
class Token {
  #source;
  #channel;
  /** @type {TokenContext['reason']} */
  #reason = 'connect';
  /** @type {{ signal: AbortSignal, token: Promise<string> } | null} */
  #asking = null;

  /**
   * @param {TokenSource | undefined} source
   * @param {string} [channel]
   */
  constructor(source, channel) {
    this.#source = source;
    this.#channel = channel;
    /** @type {string | null} */
    this.value = typeof source === 'function' ? null : (source ?? '');
  }

  get canRenew() {
    return typeof this.#source === 'function';
  }

  get wantsAsking() {
    return this.value === null;
  }

  /** Forgets a token that is of no use any more; false: there is no other. */
  renew() {
    if (!this.canRenew) return false;
    this.value = null;
    this.#reason = 'expired';
    return true;
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<string>}
   */
  async current(signal) {
    return this.value ?? this.fresh(signal, this.#reason);
  }

  /**
   * @param {AbortSignal} signal
   * @param {TokenContext['reason']} reason
   * @returns {Promise<string>}
   */
  fresh(signal, reason) {
    if (this.#asking && !this.#asking.signal.aborted) return this.#asking.token;
    const asking = { signal, token: this.#ask(signal, reason) };
    this.#asking = asking;
    return asking.token.finally(() => this.#asking === asking && (this.#asking = null));
  }

  /**
   * @param {AbortSignal} signal
   * @param {TokenContext['reason']} reason
   */
  async #ask(signal, reason) {
    const source = /** @type {Exclude<TokenSource, string>} */ (this.#source);
    // Whoever asks may go on without an answer, whether the answer heeds the signal or not.
    const gone = new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
    const token = /** @type {string} */ (
      await Promise.race([source({ signal, reason, channel: this.#channel }), gone])
    );
    if (!token) throw new Terminal({ code: LOCAL.noToken, reason: 'there is no token' });
    return (this.value = token);
  }
}

/** Ends a client or a subscription for good. */
class Terminal extends Error {
  /** @param {End} end */
  constructor(end) {
    super(end.reason);
    this.end = end;
  }
}

// Transports.

/**
 * A way to an edge. `ended` resolves once, whoever ended it.
 *
 * @typedef {object} Transport
 * @property {TransportName} name
 * @property {Promise<unknown>} opened
 * @property {Promise<End>} ended
 * @property {(heard: (lines: string[]) => void) => void} listen
 * @property {(lines: string[]) => void} write
 * @property {(code: number, reason: string) => void} close
 */

/** A client's normal close. */
const CLOSE = 3000;

/** @implements {Transport} */
class SocketTransport {
  /** @type {'websocket'} */
  name = 'websocket';
  #socket;

  /** @param {string} url */
  constructor(url) {
    const socket = (this.#socket = new WebSocket(url));
    /** @type {Promise<End>} */
    this.ended = new Promise((resolve) => {
      socket.onclose = ({ code, reason }) => resolve({ code, reason: reason || 'the connection ended' });
    });
    /** @type {Promise<unknown>} */
    this.opened = new Promise((resolve, reject) => {
      socket.onopen = resolve;
      this.ended.then(({ code }) => reject(new Error(`WebSocket did not open (${code})`)));
    });
    this.opened.catch(() => {});
  }

  /** @param {(lines: string[]) => void} heard */
  listen(heard) {
    this.#socket.onmessage = ({ data }) => heard(`${data}`.split('\n').filter(Boolean));
  }

  /** Joins lines into frames that the server takes. @param {string[]} lines */
  write(lines) {
    let frame = '';
    let size = 0;
    for (const line of lines) {
      const more = bytesOf(line) + 1;
      if (size + more > COMMAND_BYTES_MAX && frame) {
        this.#send(frame);
        frame = '';
        size = 0;
      }
      frame += frame ? `\n${line}` : line;
      size += more;
    }
    this.#send(frame);
  }

  /** @param {string} frame */
  #send(frame) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(frame);
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  close(code, reason) {
    this.#socket.close(code, reason.slice(0, 40));
  }
}

/** @implements {Transport} */
class SessionTransport {
  /** @type {'webtransport'} */
  name = 'webtransport';
  #session;
  /** @type {WritableStreamDefaultWriter<Uint8Array> | null} */
  #writer = null;
  /** @type {ReadableStreamDefaultReader<Uint8Array> | null} */
  #reader = null;
  /** The last write, until it is done. @type {Promise<void> | undefined} */
  #writing;

  /**
   * @param {string} url
   * @param {BufferSource[]} hashes
   */
  constructor(url, hashes) {
    const serverCertificateHashes = hashes.map((value) => ({ algorithm: 'sha-256', value }));
    this.#session = new WebTransport(url, hashes.length > 0 ? { serverCertificateHashes } : {});
    /** @type {Promise<End>} */
    this.ended = this.#session.closed.then(
      (info) => ({ code: info?.closeCode ?? 0, reason: info?.reason || 'the session ended' }),
      (error) => ({ code: LOCAL.closed, reason: error?.message || 'the session broke' }),
    );
    /** @type {Promise<unknown>} */
    this.opened = this.#open();
    this.opened.catch(() => {});
  }

  async #open() {
    await this.#session.ready;
    const { readable, writable } = await this.#session.createBidirectionalStream();
    this.#reader = readable.getReader();
    this.#writer = writable.getWriter();
    this.#writer.closed.catch(() => {});
    this.#reader.closed.catch(() => {});
  }

  /** @param {(lines: string[]) => void} heard */
  listen(heard) {
    this.#read(heard)
      .catch(() => {})
      .then(() => {
        // The session's code comes right behind, if there is one.
        const limit = new Timer();
        limit.start(1000, () => this.close(CLOSE, 'the stream ended'));
        this.ended.then(() => limit.stop());
      });
  }

  /** @param {(lines: string[]) => void} heard */
  async #read(heard) {
    const reader = this.#reader;
    // Chunks may end anywhere, in the middle of a character too.
    const decoder = new TextDecoder();
    /** @type {string[]} */
    let begun = [];
    for (;;) {
      const { value, done } = (await reader?.read()) ?? { done: true };
      if (done) return;
      const [first = '', ...more] = decoder.decode(value, { stream: true }).split('\n');
      begun.push(first);
      if (more.length === 0) continue;
      const rest = /** @type {string} */ (more.pop());
      const lines = [begun.join(''), ...more];
      begun = [rest];
      heard(lines.filter(Boolean));
    }
  }

  /** @param {string[]} lines */
  write(lines) {
    const writing = this.#writer?.write(new TextEncoder().encode(lines.join('\n') + '\n')).catch(() => {});
    this.#writing = writing;
    writing?.then(() => this.#writing === writing && (this.#writing = undefined));
  }

  /**
   * @param {number} closeCode
   * @param {string} reason
   */
  close(closeCode, reason) {
    const close = () => {
      try {
        this.#session.close({ closeCode, reason: reason.slice(0, 40) });
      } catch {
        // It has not opened, or is closed already.
      }
    };
    // A session's end overtakes what is still being written; but a dead one may take for ever to write.
    if (!this.#writing) return close();
    const limit = new Timer();
    limit.start(100, close);
    this.#writing.then(close);
  }
}

/**
 * Where an edge is. `key` names it among the rests; `hashes` is where a certificate's hash may be asked for, or ''.
 *
 * @typedef {{ websocket: string, webtransport: string, hashes: string, key: string }} Urls
 */

/**
 * @param {string | URL | Endpoint} edge
 * @returns {Urls}
 */
function urlsOf(edge) {
  const here = globalThis.location?.href;
  const absolute = (/** @type {string | URL} */ url) => new URL(url, here).href;
  if (typeof edge === 'object' && !(edge instanceof URL)) {
    const websocket = edge.websocket ? absolute(edge.websocket).replace(/^http/, 'ws') : '';
    const webtransport = edge.webtransport ? absolute(edge.webtransport) : '';
    return { websocket, webtransport, hashes: '', key: webtransport };
  }
  const base = new URL(
    absolute(edge)
      .replace(/^ws/, 'http')
      .replace(/[?#].*/, '')
      .replace(/\/?$/, '/'),
  );
  const isLoopback = /^(.+\.)?localhost$|^127\.|^\[::1\]$/.test(base.hostname);
  return {
    websocket: new URL('connection/websocket', base).href.replace(/^http/, 'ws'),
    webtransport: base.protocol === 'https:' ? new URL('connection/webtransport', base).href : '',
    hashes: isLoopback ? new URL('certificate-hash', base).href : '',
    key: base.origin,
  };
}

/** @param {Urls} urls */
function canWebTransport({ webtransport, hashes }) {
  return typeof WebTransport === 'function' && (webtransport || hashes) !== '';
}

/**
 * Where an edge's WebTransport is, and the certificates that it may have. In development an edge says so itself:
 * `{"algorithm":"sha-256","hashes":["<base64>",…],"url":"https://localhost:8441/connection/webtransport"}`.
 *
 * @param {Urls} urls
 * @param {(string | BufferSource)[]} given
 * @param {number} timeout
 * @returns {Promise<{ url: string, hashes: BufferSource[] }>}
 */
async function whereWebTransport({ webtransport, hashes }, given, timeout) {
  const bytes = (/** @type {string | BufferSource} */ hash) =>
    typeof hash === 'string' ? Uint8Array.from(atob(hash), (each) => each.charCodeAt(0)) : hash;
  if (hashes && given.length === 0) {
    try {
      const answer = await fetch(hashes, { cache: 'no-store', signal: AbortSignal.timeout(timeout) });
      if (!answer.ok) throw new Error(`${hashes}: ${answer.status}`);
      const said = await answer.json();
      return { url: said.url ?? webtransport, hashes: said.hashes.map(bytes) };
    } catch (error) {
      if (!webtransport) throw error;
    }
  }
  if (!webtransport) throw new Error('where WebTransport is, is not known');
  return { url: webtransport, hashes: given.map(bytes) };
}

/**
 * For which edges WebTransport rests, because it failed where WebSocket worked. Kept for the tab, so that a page that is
 * loaded anew does not pay the head start again.
 */
const rests = {
  prefix: 'causeway:webtransport:',
  /** @type {Map<string, { wait: number, until: number }>} */
  known: new Map(),

  /** @param {string} key */
  read(key) {
    try {
      const stored = sessionStorage.getItem(rests.prefix + key);
      if (stored) return JSON.parse(stored);
    } catch {
      // No storage here, or nonsense in it.
    }
    return rests.known.get(key);
  },

  /**
   * @param {string} key
   * @param {{ wait: number, until: number } | null} rest
   */
  write(key, rest) {
    if (rest) rests.known.set(key, rest);
    else rests.known.delete(key);
    try {
      if (rest) sessionStorage.setItem(rests.prefix + key, JSON.stringify(rest));
      else sessionStorage.removeItem(rests.prefix + key);
    } catch {
      // No storage here.
    }
  },

  /** How long it still rests, in ms. @param {string} key */
  left(key) {
    const { wait, until } = rests.read(key) ?? { wait: 0, until: 0 };
    // No longer than it was meant to, whatever has become of the clock.
    return Math.min(Math.max(0, until - Date.now()), wait * 1.25);
  },

  /**
   * @param {string} key
   * @param {typeof TIMINGS} timings
   */
  begin(key, { restMin, restMax }) {
    const wait = Math.min(restMax, (rests.read(key)?.wait ?? restMin / 2) * 2);
    rests.write(key, { wait, until: Date.now() + wait * (0.75 + Math.random() / 2) });
  },

  /** WebTransport has worked for long: the next rest is short again. @param {string} key */
  end(key) {
    rests.write(key, null);
  },
};

// Helpers.

/** One timer, or none. */
class Timer {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {number} delay  in ms
   * @param {() => void} act
   */
  start(delay, act) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(act, Math.min(delay, TIMER_MAX));
  }

  stop() {
    clearTimeout(this.#timer);
  }
}

/**
 * @param {Emitter<any>} target
 * @param {string} good
 * @param {string} bad
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
function until(target, good, bad, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const isOver = new AbortController();
    const over = (/** @type {() => void} */ act) => () => {
      isOver.abort();
      act();
    };
    const options = { signal: isOver.signal };
    target.addEventListener(good, over(resolve), options);
    target.addEventListener(
      bad,
      (/** @type {CustomEvent<End>} */ { detail }) => over(() => reject(notSent(detail)))(),
      options,
    );
    signal?.addEventListener(
      'abort',
      over(() => reject(signal.reason)),
      options,
    );
  });
}

/** @param {End} end */
function notSent({ code, reason }) {
  return new NotSentError(LOCAL.closed, `not connected: ${reason} (${code})`);
}

/** Whether a server that ends a connection with `code` does not want the client back. @param {number} code */
function isTerminal(code) {
  return (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000) || code === TOO_LARGE;
}

/** WebSocket's own code for a frame that is too large: the same would happen again. */
const TOO_LARGE = 1009;

/** When to renew what is valid for `ttl` seconds: with a quarter of it left, but not over 30 s. @param {number} ttl */
function beforeExpiry(ttl) {
  return Math.max(1000, ttl * 1000 - Math.min(30_000, ttl * 250));
}

/** Whether anybody looks at the page; workers have none, and count as seen. */
function isVisible() {
  return globalThis.document?.visibilityState !== 'hidden';
}

/** @param {string} text */
function bytesOf(text) {
  return new TextEncoder().encode(text).length;
}

/**
 * @param {string} channel
 * @param {any} pub
 * @returns {Publication}
 */
function publication(channel, { data, info, offset, tags, channel: own }) {
  return { channel: own || channel, data, user: info?.user ?? null, info, offset, tags };
}

/**
 * @param {string} channel
 * @param {any} result
 * @returns {Subscribed}
 */
function subscribed(channel, result) {
  return {
    channel,
    wasRecovering: result.was_recovering === true,
    recovered: result.recovered === true,
    position: positionOf(result),
    data: result.data,
  };
}

/**
 * Where a subscription begins: before what it missed.
 *
 * @param {any} result
 * @returns {Position | null}
 */
function positionOf({ recoverable, offset = 0, epoch = '', publications = [] }) {
  if (!recoverable) return null;
  const before = publications.length > 0 ? publications[0].offset - 1 : offset;
  return { offset: Math.min(offset, before), epoch };
}

/**
 * Moves `position` to a publication, unless that was seen already.
 *
 * @param {Position | null | undefined} position
 * @param {any} pub
 */
function isNew(position, { offset, epoch }) {
  if (!position || !offset) return true;
  if (epoch && epoch !== position.epoch) Object.assign(position, { epoch, offset: 0 });
  if (offset <= position.offset) return false;
  position.offset = offset;
  return true;
}
