// What the panels' queries have in common. A query never invents a zero: where nothing is measured, nothing is shown.

/** One query of a panel, and how its series are called in the legend. */
export class Query {
  /**
   * @param {string} expression in PromQL
   * @param {string} legend with `{{label}}` for a label's value
   */
  constructor(expression, legend) {
    this.expression = expression;
    this.legend = legend;
  }
}

/**
 * @param {string} expression
 * @param {string} legend
 */
export const query = (expression, legend) => new Query(expression, legend);

/** The cluster that is looked at; its edges, as chosen; its relays. */
export const CLUSTER = 'cluster="$cluster"';
export const EDGES = `${CLUSTER},instance=~"$instance"`;
export const RELAYS = `${CLUSTER},job="causeway-relay"`;

/** Over how long rates are taken: Grafana makes it four scrapes at least. */
const WINDOW = '[$__rate_interval]';

/**
 * Events a second, of each series.
 *
 * @param {string} counter
 * @param {string} which its labels, as in a selector
 */
export const rate = (counter, which) => `rate(${counter}{${which}}${WINDOW})`;

/**
 * Events a second, added up.
 *
 * @param {string} by labels that are kept; none is the whole
 * @param {string} counter
 * @param {string} which
 */
export const rates = (by, counter, which) => `sum${grouped(by)}(${rate(counter, which)})`;

/**
 * The seconds within which that share of the samples was; nothing where there were none, which by itself would be NaN.
 *
 * @param {number} share
 * @param {string} by
 * @param {string} histogram without `_bucket`
 * @param {string} which
 */
export const quantile = (share, by, histogram, which) =>
  `histogram_quantile(${share}, sum by (${['le', by].filter(Boolean).join(', ')}) (${rate(`${histogram}_bucket`, which)})) >= 0`;

/**
 * A share of a whole that may be nothing: then there is no share.
 *
 * @param {string} part
 * @param {string} whole
 */
export const share = (part, whole) => `${part} / (${whole} > 0)`;

/** @param {string} by */
const grouped = (by) => (by ? ` by (${by}) ` : '');
