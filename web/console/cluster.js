// What the relay says, and what follows from two of its answers: rates, states, edges that have just gone.

/**
 * @typedef {object} Status
 * @property {number} ms_ago
 * @property {number} clients
 * @property {boolean} is_ready
 * @property {number} rtt_us
 * @property {number} received
 * @property {number} pushes
 * @property {number} unknown
 */

/**
 * @typedef {object} Path
 * @property {string} address
 * @property {number} rtt_us
 * @property {number} congestion_window_bytes
 * @property {number} lost_packets
 * @property {number} sent_packets
 * @property {number} sent_bytes
 * @property {number} received_bytes
 */

/**
 * One edge, as `/api/edges` has it.
 *
 * @typedef {object} Told
 * @property {string} name
 * @property {number} epoch
 * @property {'linked' | 'lost'} state
 * @property {number} since
 * @property {number} heard_ms_ago
 * @property {string} version
 * @property {number} capacity
 * @property {boolean} is_leased
 * @property {boolean} is_synced
 * @property {number} channels
 * @property {number} queued_bytes
 * @property {{ publications: number, bytes: number }} in
 * @property {{ publications: number, bytes: number }} out
 * @property {Status | null} status
 * @property {Path | null} path
 */

/** @typedef {{ at: number, kind: string, edge: string | null, text: string }} Happened */

/**
 * @typedef {object} Answer
 * @property {number} now
 * @property {Record<string, any>} relay
 * @property {Told[]} edges
 * @property {Happened[]} events
 */

/**
 * How an edge is: its state in one word, and the tone of that.
 *
 * @typedef {{ word: string, tone: 'good' | 'warn' | 'bad' | 'gone' }} Health
 */

/**
 * One edge as it is shown. Rates are per second, `null` where there are no two answers to tell them from.
 *
 * @typedef {object} Edge
 * @property {string} name
 * @property {Told} told
 * @property {Health} health
 * @property {number} clients
 * @property {number} fill  from 0 to 1
 * @property {number | null} rtt  microseconds
 * @property {{ in: number | null, out: number | null, bytesIn: number | null, bytesOut: number | null, received: number | null, pushes: number | null }} rates
 */

/** How long an edge that is gone for good stays in the picture, in ms: who looks up should see where it was. */
const GONE_FOR = 20_000;

/** An edge that was not heard for so long, in ms, is doubtful: its relay does not call itself complete. */
const UNHEARD_MAX = 2000;

/** @param {Told} told @returns {Health} */
function healthOf({ state, status, capacity, is_synced, heard_ms_ago }) {
  if (state === 'lost') return { word: 'lost', tone: 'bad' };
  if (heard_ms_ago > UNHEARD_MAX) return { word: 'silent', tone: 'bad' };
  if (!is_synced) return { word: 'joining', tone: 'warn' };
  if (status && !status.is_ready) return { word: status.clients >= capacity ? 'full' : 'not ready', tone: 'warn' };
  return { word: 'linked', tone: 'good' };
}

/** How far back what was refused lately is counted, in ms. */
const LATELY = 300_000;

/** Of a counter that may have begun anew. @param {number} now @param {number} before @param {number} ms */
const perSecond = (now, before, ms) => (ms > 0 && now >= before ? ((now - before) * 1000) / ms : null);

/** Remembers the last answer, and turns the next one into what is shown. */
export class Cluster {
  /** @type {Answer | null} */
  #last = null;
  /** What the relay had refused and missed at each answer of the last minutes, the oldest first. @type {{ at: number, refused: number, missing: number }[]} */
  #refusals = [];
  #started = 0;
  /** @type {Map<string, Edge>} */
  #edges = new Map();
  /** When edges that are told of no more were last told of, unix ms of the relay. @type {Map<string, number>} */
  #gone = new Map();

  /** @param {Answer} answer */
  take(answer) {
    const before = this.#last;
    const ms = before ? answer.now - before.now : 0;
    const edges = new Map(answer.edges.map((told) => [told.name, this.#edge(told, answer.now, ms)]));
    for (const [name, edge] of this.#edges) {
      if (!edges.has(name)) this.#bury(name, edge, answer.now, edges);
    }
    for (const name of this.#gone.keys()) if (edges.get(name)?.health.tone !== 'gone') this.#gone.delete(name);
    const relay = answer.relay;
    const isSame = before?.relay.started === relay.started;
    const rateOf = (/** @type {string} */ key) =>
      before && isSame ? perSecond(relay[key], before.relay[key], ms) : null;
    this.#last = answer;
    this.#edges = edges;
    return {
      now: answer.now,
      relay,
      edges: [...edges.values()],
      events: answer.events,
      recent: this.#recent(answer),
      rates: { publications: rateOf('publications'), forwarded: rateOf('forwarded') },
    };
  }

  /**
   * What was refused and missed in the last minutes, as far as this page was there to see it.
   *
   * @param {Answer} answer
   */
  #recent({ now, relay: { started, refused, missing } }) {
    if (started !== this.#started) this.#refusals = [];
    this.#started = started;
    this.#refusals.push({ at: now, refused, missing });
    while ((this.#refusals[0]?.at ?? now) < now - LATELY) this.#refusals.shift();
    const first = this.#refusals[0];
    return { refused: refused - (first?.refused ?? refused), missing: missing - (first?.missing ?? missing) };
  }

  /** Nothing can be told from an answer that is too old. */
  pause() {
    this.#last = null;
  }

  /** @param {Told} told @param {number} now @param {number} ms @returns {Edge} */
  #edge(told, now, ms) {
    const before = this.#edges.get(told.name);
    const { status, path } = told;
    const isSame = ms > 0 && before?.told.epoch === told.epoch && before.told.since === told.since;
    const last = isSame ? before.told : null;
    const isLinked = told.state === 'linked';
    const clients = isLinked ? (status?.clients ?? 0) : 0;
    return {
      name: told.name,
      told,
      health: healthOf(told),
      clients,
      fill: Math.min(1, clients / Math.max(1, told.capacity)),
      rtt: isLinked ? status?.rtt_us || path?.rtt_us || null : null,
      rates: {
        in: last && perSecond(told.in.publications, last.in.publications, ms),
        out: last && perSecond(told.out.publications, last.out.publications, ms),
        bytesIn: last && perSecond(told.in.bytes, last.in.bytes, ms),
        bytesOut: last && perSecond(told.out.bytes, last.out.bytes, ms),
        ...(last ? said(told, last, before?.rates ?? null, ms) : { received: null, pushes: null }),
      },
    };
  }

  /** @param {string} name @param {Edge} edge @param {number} now @param {Map<string, Edge>} edges */
  #bury(name, edge, now, edges) {
    const since = this.#gone.get(name) ?? now;
    this.#gone.set(name, since);
    if (now - since > GONE_FOR) return;
    const rates = { in: null, out: null, bytesIn: null, bytesOut: null, received: null, pushes: null };
    edges.set(name, { ...edge, health: { word: 'gone', tone: 'gone' }, clients: 0, fill: 0, rtt: null, rates });
  }
}

/**
 * Rates of what an edge says of itself once a second, which comes at other times than our questions.
 *
 * @param {Told} told
 * @param {Told} last
 * @param {{ received: number | null, pushes: number | null } | null} rates
 * @param {number} ms
 */
function said({ status }, { status: before }, rates, ms) {
  if (!status || !before) return { received: null, pushes: null };
  const between = ms - status.ms_ago + before.ms_ago;
  // The same words as last time.
  if (between < 100) return { received: rates?.received ?? null, pushes: rates?.pushes ?? null };
  return {
    received: perSecond(status.received, before.received, between),
    pushes: perSecond(status.pushes, before.pushes, between),
  };
}

/** The sum of what is known; `null` where nothing is. @param {(number | null)[]} numbers */
export function sum(numbers) {
  const known = numbers.filter((n) => n !== null);
  return known.length > 0 ? known.reduce((all, n) => all + n, 0) : null;
}
