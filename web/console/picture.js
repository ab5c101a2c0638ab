// The cluster as a picture: the relay in the middle, its edges around it on tracks, as large as they fit. Everything is in
// real pixels, so that text stays readable at any size and any number of edges.

import { NONE, count, element, mark, millis, rate, say, shape } from './words.js';

/** @typedef {import('./cluster.js').Edge} Edge */

/** What an edge takes of the picture, in px: the largest that lets all of them in. The last is still readable. */
const CELLS = [150, 132, 116, 104, 94, 86, 78, 72, 66];

/** Half of the relay's size, in px. */
const RELAY = 40;

/** With more edges than these, figures are short, and links do not move: that would repaint all of them. */
const MANY = 24;

/** Up to this width of the picture, in px, that many edges stand in rows below the relay: as on phones. */
const NARROW = 664;

/**
 * Where edges are, and how large; and how far above the middle the relay is.
 *
 * @typedef {{ cell: number, height: number, spots: { x: number, y: number }[], above: number, isGrid: boolean }} Layout
 */

/**
 * A track around the middle: two half circles and what is between them.
 *
 * @param {number} a half of its width
 * @param {number} b half of its height
 */
function track(a, b) {
  const round = Math.min(a, b);
  const straight = 2 * Math.abs(a - b);
  const arc = Math.PI * round;
  const isWide = a >= b;
  const length = 2 * (straight + arc);
  /** The point so far along it, clockwise from the middle of the left, or from the top where it is tall. @param {number} at */
  const point = (at) => {
    at = ((at % length) + length) % length;
    // Along its own axis, then turned.
    let x;
    let y;
    if (at < arc / 2) {
      const angle = at / round;
      [x, y] = [-straight / 2 - round * Math.cos(angle), -round * Math.sin(angle)];
    } else if (at < arc / 2 + straight) {
      [x, y] = [-straight / 2 + at - arc / 2, -round];
    } else if (at < (arc * 3) / 2 + straight) {
      const angle = (at - arc / 2 - straight) / round;
      [x, y] = [straight / 2 + round * Math.sin(angle), -round * Math.cos(angle)];
    } else if (at < (arc * 3) / 2 + 2 * straight) {
      [x, y] = [straight / 2 - (at - (arc * 3) / 2 - straight), round];
    } else {
      const angle = (at - (arc * 3) / 2 - 2 * straight) / round;
      [x, y] = [-straight / 2 - round * Math.sin(angle), round * Math.cos(angle)];
    }
    return isWide ? { x, y } : { x: -y, y: x };
  };
  return { length, point, isWide };
}

/** The tracks that fit, the outermost first. @param {number} width @param {number} height @param {number} cell */
function tracks(width, height, cell) {
  const all = [];
  let [a, b] = [(width - cell) / 2, (height - cell) / 2];
  // Two edges need not be a screen apart.
  a = Math.min(a, Math.max(2.4 * b, cell * 2));
  for (; a >= RELAY + cell * 0.52 && b >= RELAY + cell * 0.56; a -= cell, b -= cell) {
    const { length, point, isWide } = track(a, b);
    all.push({ length, point, isWide, room: Math.floor(length / cell) });
  }
  return all;
}

/** @param {number} n @param {number} width @returns {Layout} */
export const layOut = (n, width) => (n > MANY && width <= NARROW ? rowsOf(n, width) : around(n, width));

/** Rows under the relay; without links, for all of them would run over each other. @param {number} n @param {number} width @returns {Layout} */
function rowsOf(n, width) {
  const cell = CELLS[CELLS.length - 1] ?? 66;
  const columns = Math.max(1, Math.floor(width / cell));
  const top = 2 * RELAY + 8;
  const height = top + Math.ceil(n / columns) * cell;
  const spots = Array.from({ length: n }, (_, at) => ({
    x: ((at % columns) + 0.5) * (width / columns) - width / 2,
    y: top + (Math.floor(at / columns) + 0.5) * cell - height / 2,
  }));
  return { cell, height, spots, above: height / 2 - RELAY, isGrid: true };
}

/** @param {number} n @param {number} width @returns {Layout} */
function around(n, width) {
  const usual = n <= 2 ? 310 : n <= 6 ? 340 : n <= 16 ? 430 : 560;
  let height = Math.max(usual, Math.min(usual * 1.3, width * 0.5));
  let cell = CELLS[CELLS.length - 1] ?? 66;
  let found;
  for (const each of CELLS) {
    const fits = tracks(width, height, each);
    if (fits.reduce((room, { room: more }) => room + more, 0) < n) continue;
    [cell, found] = [each, fits];
    break;
  }
  // As tall as it takes, then.
  for (; !found && height < 20_000; height += cell / 2) {
    const fits = tracks(width, height, cell);
    if (fits.reduce((room, { room: more }) => room + more, 0) >= n) found = fits;
  }
  const used = [];
  let left = n;
  for (const each of found ?? []) {
    if (left <= 0) break;
    used.push(each);
    left -= each.room;
  }
  const room = used.reduce((all, { room: more }) => all + more, 0);
  /** @type {{ x: number, y: number }[]} */
  const spots = [];
  let placed = 0;
  used.forEach(({ point, length, room: own, isWide }, at) => {
    const share = at === used.length - 1 ? n - placed : Math.min(own, Math.round((n * own) / room));
    placed += share;
    // One alone on its track begins at the top, so that left and right are alike. Neighbouring tracks are set off by half
    // a place, so that links pass between.
    const from = used.length === 1 && isWide && n % 2 === 1 ? n / 4 : at % 2 === 1 ? 0.5 : 0;
    for (let i = 0; i < share; i += 1) spots.push(point(((i + from) * length) / share));
  });
  return { cell, height, spots, above: 0, isGrid: false };
}

export class Picture {
  #svg = shape('svg', { role: 'img', class: 'map' });
  #summary = shape('title');
  #disc = shape('circle', { cx: 0, cy: 0 });
  #links = shape('g');
  /** Behind all words, and before all links. */
  #backings = shape('g');
  #nodes = shape('g');
  #relay = drawRelay();
  /** @type {Map<string, ReturnType<typeof drawEdge>>} */
  #drawn = new Map();
  /** @type {Layout} */
  #layout = { cell: 0, height: 0, spots: [], above: 0, isGrid: false };
  #width = 0;
  /** @type {{ edges: Edge[], relay: Record<string, any>, forwarded: number | null } | null} */
  #shown = null;
  #names = '';
  /** @param {(name: string) => void} choose */
  #choose;

  /** @param {HTMLElement} place @param {(name: string) => void} choose */
  constructor(place, choose) {
    this.#choose = choose;
    const clip = shape('clipPath', { id: 'disc' });
    clip.append(this.#disc);
    const defs = shape('defs');
    defs.append(clip);
    this.#svg.append(this.#summary, defs, this.#links, this.#backings, this.#relay.group, this.#nodes);
    place.append(this.#svg);
    new ResizeObserver(([entry]) => {
      const width = Math.floor(entry?.contentRect.width ?? 0);
      if (width === this.#width || width === 0) return;
      this.#width = width;
      this.#names = '';
      if (this.#shown) this.show(this.#shown, this.chosen);
    }).observe(place);
  }

  /** @type {string | null} */
  chosen = null;

  /**
   * @param {{ edges: Edge[], relay: Record<string, any>, forwarded: number | null }} shown  edges by name
   * @param {string | null} chosen
   */
  show(shown, chosen) {
    this.#shown = shown;
    this.chosen = chosen;
    if (this.#width === 0) return;
    const { edges, relay, forwarded } = shown;
    const names = edges.map(({ name }) => name).join(' ');
    if (names !== this.#names) {
      this.#names = names;
      this.#arrange(edges);
    }
    for (const edge of edges) this.#update(edge);
    const tone = relay.is_complete ? 'good' : 'warn';
    mark(this.#relay.group, 'data-tone', tone);
    say(this.#relay.name, shorten(relay.name, 12));
    say(this.#relay.note, relay.is_complete ? `${rate(forwarded)} /s` : edges.length > 0 ? 'incomplete' : 'no edges');
    const linked = edges.filter(({ health }) => health.tone === 'good' || health.tone === 'warn').length;
    say(this.#summary, `Relay ${relay.name} and ${edges.length} edges, ${linked} of them linked; the table below has all figures.`);
  }

  /** @param {Edge[]} edges */
  #arrange(edges) {
    this.#layout = layOut(edges.length, this.#width);
    const { cell, height, spots, above, isGrid } = this.#layout;
    const radius = discRadius(cell);
    mark(this.#svg, 'viewBox', `${-this.#width / 2} ${-height / 2} ${this.#width} ${height}`);
    mark(this.#svg, 'width', this.#width);
    mark(this.#svg, 'height', height);
    this.#svg.toggleAttribute('data-many', edges.length > MANY);
    this.#svg.toggleAttribute('data-grid', isGrid);
    mark(this.#relay.group, 'transform', `translate(0 ${-above})`);
    mark(this.#svg, 'data-size', cell >= 100 ? 'l' : cell >= 80 ? 'm' : 's');
    mark(this.#disc, 'r', radius);
    const left = new Set(this.#drawn.keys());
    edges.forEach(({ name }, at) => {
      left.delete(name);
      let drawn = this.#drawn.get(name);
      if (!drawn) {
        drawn = drawEdge(() => this.#choose(name));
        this.#drawn.set(name, drawn);
        this.#links.append(drawn.link);
        this.#backings.append(drawn.backing);
        this.#nodes.append(drawn.group);
      }
      place(drawn, spots[at] ?? { x: 0, y: 0 }, cell, radius);
    });
    for (const name of left) {
      const drawn = this.#drawn.get(name);
      for (const part of [drawn?.group, drawn?.link, drawn?.backing]) part?.remove();
      this.#drawn.delete(name);
    }
  }

  /** @param {Edge} edge */
  #update(edge) {
    const drawn = this.#drawn.get(edge.name);
    if (!drawn) return;
    const { cell } = this.#layout;
    const radius = discRadius(cell);
    const { health, rates, told } = edge;
    const isUp = health.tone === 'good' || health.tone === 'warn';
    mark(drawn.group, 'data-tone', health.tone);
    mark(drawn.link, 'data-tone', health.tone);
    drawn.group.toggleAttribute('data-chosen', edge.name === this.chosen);
    const level = Math.round(2 * radius * edge.fill * 10) / 10;
    mark(drawn.fill, 'y', radius - level);
    mark(drawn.fill, 'height', level);
    drawn.group.toggleAttribute('data-nearly-full', edge.fill >= 0.9);
    say(drawn.clients, isUp ? count(edge.clients) : NONE);
    say(drawn.name, shorten(edge.name, Math.floor((cell - 6) / (cell >= 100 ? 7.4 : 6.4))));
    const figure =
      cell >= 86 ? `↑${rate(rates.in)} ↓${rate(rates.out)}` : rates.in === null ? NONE : `${rate((rates.in ?? 0) + (rates.out ?? 0))}/s`;
    say(drawn.figure, health.tone === 'good' ? figure : health.word);
    // Links to edges above the relay leave where the words stand.
    const letters = Math.max(drawn.name.textContent.length * (cell >= 100 ? 7.4 : 6.4), drawn.figure.textContent.length * 6.4);
    const backing = Math.min(cell, Math.round(letters) + 8);
    mark(drawn.backing, 'x', -backing / 2);
    mark(drawn.backing, 'width', backing);
    say(
      drawn.title,
      `${edge.name}: ${health.word}, ${count(edge.clients)} of ${count(told.capacity)} clients, ` +
        `${rate(rates.in)}/s to the relay, ${rate(rates.out)}/s from it, round trip ${millis(edge.rtt)}`,
    );
    const width = this.#shown && this.#shown.edges.length > MANY ? 0.45 : 1;
    flow(drawn.up, rates.in, width);
    flow(drawn.down, rates.out, width);
  }
}

/** @param {number} cell */
const discRadius = (cell) => Math.round(cell * (cell >= 100 ? 0.27 : 0.255));

/**
 * The end of a name tells edges of a kind apart.
 *
 * @param {string} name
 * @param {number} letters
 */
const shorten = (name, letters) => (name.length <= letters ? name : `…${name.slice(1 - letters)}`);

/**
 * How much goes over a link, as width and speed.
 *
 * @param {SVGElement} line
 * @param {number | null} perSecond
 * @param {number} width  of all links alike
 */
function flow(line, perSecond, width) {
  const n = perSecond ?? 0;
  mark(line, 'data-flow', n <= 0 ? 'none' : n < 10 ? 'slow' : n < 1000 ? 'some' : 'fast');
  mark(line, 'stroke-width', n <= 0 ? 0 : (width * Math.min(6, 1 + Math.log10(1 + n))).toFixed(1));
}

/** @param {() => void} choose */
function drawEdge(choose) {
  const group = shape('g', { class: 'edge' });
  const title = shape('title');
  const back = shape('circle', { class: 'disc' });
  const inside = shape('g', { 'clip-path': 'url(#disc)' });
  const fill = shape('rect', { class: 'fill' });
  inside.append(fill);
  const ring = shape('circle', { class: 'ring' });
  const clients = shape('text', { class: 'clients' });
  const name = shape('text', { class: 'name' });
  const figure = shape('text', { class: 'figure' });
  const backing = shape('rect', { class: 'backing', rx: 4 });
  group.append(title, back, inside, ring, clients, figure, name);
  group.addEventListener('click', choose);
  const link = shape('g', { class: 'link' });
  const base = shape('line', { class: 'base' });
  const up = shape('line', { class: 'flow' });
  const down = shape('line', { class: 'flow' });
  link.append(base, up, down);
  return { group, title, backing, back, fill, ring, clients, name, figure, link, base, up, down };
}

/**
 * @param {ReturnType<typeof drawEdge>} drawn
 * @param {{ x: number, y: number }} spot
 * @param {number} cell
 * @param {number} radius
 */
function place(drawn, { x, y }, cell, radius) {
  const line = cell >= 100 ? 16 : 12.5;
  // Where its place is small, the disc is above the middle of it, for its name is below.
  const center = Math.round(y + Math.min(0, cell / 2 - radius - 2 * line - 2));
  for (const part of [drawn.group, drawn.backing]) mark(part, 'transform', `translate(${Math.round(x)} ${center})`);
  for (const circle of [drawn.back, drawn.ring]) mark(circle, 'r', radius);
  mark(drawn.fill, 'x', -radius);
  mark(drawn.fill, 'width', 2 * radius);
  mark(drawn.backing, 'y', radius + 2);
  mark(drawn.backing, 'height', 2 * line + 3);
  mark(drawn.name, 'y', radius + line);
  mark(drawn.figure, 'y', radius + 2 * line);
  const far = Math.hypot(x, center) || 1;
  const [dx, dy] = [x / far, center / far];
  // Towards the relay on one side, from it on the other.
  const join = (/** @type {SVGElement} */ target, /** @type {number} */ aside, /** @type {boolean} */ isUp) => {
    const [sx, sy] = [-dy * aside, dx * aside];
    const near = [dx * (RELAY - 4) + sx, dy * (RELAY - 4) + sy];
    const out = [x - dx * radius + sx, center - dy * radius + sy];
    const [from, to] = isUp ? [out, near] : [near, out];
    mark(target, 'x1', Math.round(from[0] ?? 0));
    mark(target, 'y1', Math.round(from[1] ?? 0));
    mark(target, 'x2', Math.round(to[0] ?? 0));
    mark(target, 'y2', Math.round(to[1] ?? 0));
  };
  join(drawn.base, 0, false);
  join(drawn.up, cell >= 80 ? 3 : 1.5, true);
  join(drawn.down, cell >= 80 ? -3 : -1.5, false);
}

function drawRelay() {
  const group = shape('g', { class: 'relay' });
  const name = shape('text', { class: 'name', y: 12 });
  const note = shape('text', { class: 'figure', y: 27 });
  const arches = shape('path', {
    class: 'arches',
    d: 'M-15 -19h30M-12 -7v-3.5a4.25 4.25 0 0 1 9 0V-7M3 -7v-3.5a4.25 4.25 0 0 1 9 0V-7',
  });
  const frame = { x: -RELAY, y: -RELAY + 4, width: 2 * RELAY, height: 2 * RELAY - 8, rx: 16 };
  group.append(shape('rect', { class: 'ring', ...frame }), arches, name, note);
  return { group, name, note };
}

/** What the colours mean, in words. @param {HTMLElement} place */
export function legend(place) {
  for (const [tone, words] of [
    ['good', 'linked'],
    ['full', 'over 90 % full'],
    ['warn', 'not ready'],
    ['bad', 'silent, lost'],
  ]) {
    const entry = element('span', 'legend-entry', words);
    entry.dataset.tone = tone;
    place.append(entry);
  }
  place.append(element('span', 'legend-entry', '↑ to the relay ↓ from it, publications/s'));
}
