// What happened in the last five minutes, as lines that move on with each answer.

import { NONE, ago, element, mark, say, shape } from './words.js';

/** How far back a plot goes, in ms: at first less, so that there is something to be seen. */
const SPAN_MIN = 60_000;
const SPAN_MAX = 300_000;

/** Without an answer for so long, in ms, a line has a gap. */
const GAP = 5000;

/** A plot is drawn in these units, and stretched to its place. */
const WIDTH = 300;
const HEIGHT = 72;

/**
 * @typedef {object} Line
 * @property {string} name
 * @property {'first' | 'second'} kind
 */

export class Plot {
  /** @type {{ at: number, values: (number | null)[] }[]} */
  #samples = [];
  #lines;
  #write;
  #least;
  #paths;
  #area = shape('path', { class: 'area' });
  #cursor = shape('line', { class: 'cursor', y1: 0, y2: HEIGHT });
  #now = element('span', 'plot-now', NONE);
  #top = element('span', 'plot-top');
  #when = element('span', 'plot-when');
  #from = element('span');
  #span = SPAN_MIN;
  /** Where the pointer is, from 0 to 1; -1 where it is not. */
  #pointer = -1;

  /**
   * @param {HTMLElement} place
   * @param {string} title
   * @param {Line[]} lines
   * @param {(n: number | null) => string} write
   * @param {number} least  the top of the plot is not below this
   */
  constructor(place, title, lines, write, least) {
    this.#lines = lines;
    this.#write = write;
    this.#least = least;
    const figure = element('figure', 'card plot');
    const caption = element('figcaption', 'title', title);
    caption.append(this.#now);
    const svg = shape('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
    this.#paths = lines.map(({ kind }) => shape('path', { class: `line ${kind}` }));
    svg.append(this.#area, ...this.#paths, this.#cursor);
    const frame = element('div', 'plot-frame');
    frame.append(svg, this.#top);
    const axis = element('p', 'plot-axis');
    axis.append(this.#from, this.#when, element('span', '', 'now'));
    figure.append(caption, frame, axis);
    place.append(figure);
    frame.addEventListener('pointermove', ({ clientX }) => {
      const { left, width } = frame.getBoundingClientRect();
      this.#pointer = (clientX - left) / width;
      this.#read();
    });
    frame.addEventListener('pointerleave', () => {
      this.#pointer = -1;
      this.#read();
    });
  }

  /** @param {number} at ms @param {(number | null)[]} values  one for each line */
  add(at, values) {
    this.#samples.push({ at, values });
    while ((this.#samples[0]?.at ?? at) < at - SPAN_MAX) this.#samples.shift();
    this.#span = Math.max(SPAN_MIN, at - (this.#samples[0]?.at ?? at));
    this.#draw();
  }

  #draw() {
    const end = this.#samples.at(-1)?.at ?? 0;
    const top = nice(Math.max(this.#least, ...this.#samples.flatMap(({ values }) => values.map((n) => n ?? 0))));
    const x = (/** @type {number} */ at) => (WIDTH * (1 - (end - at) / this.#span)).toFixed(1);
    const y = (/** @type {number} */ n) => (HEIGHT * (1 - (n / top) * 0.96)).toFixed(1);
    this.#paths.forEach((path, line) => {
      let d = '';
      let area = '';
      /** @type {{ at: number } | null} */
      let last = null;
      let from = '';
      for (const { at, values } of this.#samples) {
        const n = values[line] ?? null;
        if (n === null) continue;
        const isJoined = last !== null && at - last.at <= GAP;
        if (!isJoined) {
          if (last) area += `L${x(last.at)} ${HEIGHT}L${from} ${HEIGHT}Z`;
          from = x(at);
        }
        const point = `${isJoined ? 'L' : 'M'}${x(at)} ${y(n)}`;
        d += point;
        area += point;
        last = { at };
      }
      if (last) area += `L${x(last.at)} ${HEIGHT}L${from} ${HEIGHT}Z`;
      mark(path, 'd', d);
      if (line === 0) mark(this.#area, 'd', area);
    });
    say(this.#top, this.#write(top));
    say(this.#from, `${ago(this.#span)} ago`);
    this.#read();
  }

  /** Says what is under the pointer, or what is now. */
  #read() {
    const end = this.#samples.at(-1);
    if (!end) return;
    const at = this.#pointer < 0 ? end.at : end.at - this.#span * (1 - this.#pointer);
    const near = this.#samples.reduce((best, each) => (Math.abs(each.at - at) < Math.abs(best.at - at) ? each : best), end);
    const words = this.#lines.map(({ name }, line) => `${name}${this.#write(near.values[line] ?? null)}`);
    say(this.#now, words.join(' · '));
    say(this.#when, this.#pointer < 0 ? '' : `${ago(end.at - near.at)} ago`);
    const x = WIDTH * (1 - (end.at - near.at) / this.#span);
    mark(this.#cursor, 'x1', x.toFixed(1));
    mark(this.#cursor, 'x2', x.toFixed(1));
    this.#cursor.toggleAttribute('data-on', this.#pointer >= 0);
  }
}

/** 1, 2 or 5 with zeros, not below `n`. @param {number} n */
function nice(n) {
  const ten = 10 ** Math.floor(Math.log10(n));
  return ([1, 2, 5, 10].find((step) => step * ten >= n) ?? 10) * ten;
}
