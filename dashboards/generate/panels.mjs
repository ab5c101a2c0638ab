// How panels and dashboards are put together: what a dashboard says in a few words becomes what Grafana wants to read.

import * as bargauge from '@grafana/grafana-foundation-sdk/bargauge';
import * as common from '@grafana/grafana-foundation-sdk/common';
import * as dashboard from '@grafana/grafana-foundation-sdk/dashboard';
import * as prometheus from '@grafana/grafana-foundation-sdk/prometheus';
import * as stat from '@grafana/grafana-foundation-sdk/stat';
import * as statetimeline from '@grafana/grafana-foundation-sdk/statetimeline';
import * as table from '@grafana/grafana-foundation-sdk/table';
import * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';

/** @typedef {import('./queries.mjs').Query} Query */

/**
 * Colours of a value, each from its number on: `green` holds below the first.
 * @typedef {[from: number, colour: string][]} Steps
 */

/**
 * @typedef {object} Options
 * @property {number} [width] of 24
 * @property {number} [height] in Grafana's rows
 * @property {Steps} [steps]
 * @property {string} [below] the colour below the first step, `green` if nothing is said
 * @property {number} [min]
 * @property {number} [max]
 * @property {number} [decimals]
 * @property {boolean} [isStacked]
 * @property {boolean} [isLogarithmic]
 * @property {boolean} [isInstant] only the newest value counts
 * @property {keyof typeof PAGES} [leadsTo] where more of it is to be seen
 * @property {Record<string, [text: string, colour: string]>} [states] what its values mean
 */

const SOURCE = { type: 'prometheus', uid: '${datasource}' };

/** What a link carries along: where we are and when. The data source, the cluster, and the time. */
const ALONG = '${datasource:queryparam}&${cluster:queryparam}&${__url_time_range}';

/** Every dashboard: its uid, which stands in links, and its name. */
export const PAGES = /** @type {const} */ ({
  overview: 'Overview',
  edge: 'Edges',
  relay: 'Relay and links',
  redis: 'Redis and routes',
  clients: 'Clients and transports',
});

/** Pages of which only the first two rows are open at first: there is more on them than fits on a screen. */
const LONG = ['edge', 'relay'];
const OPEN_ROWS = 2;

/** 1 is good. */
export const GOOD = /** @type {Record<string, [string, string]>} */ ({ 0: ['no', 'red'], 1: ['yes', 'green'] });

/** 0 is good. */
export const BAD = /** @type {Record<string, [string, string]>} */ ({ 0: ['no', 'green'], 1: ['yes', 'red'] });

/** @param {keyof typeof PAGES} page */
const uid = (page) => `causeway-${page}`;

/**
 * Lines over time.
 *
 * @param {string} title
 * @param {string} description
 * @param {string} unit as Grafana calls it
 * @param {Query[]} queries
 * @param {Options} [options]
 */
export function lines(title, description, unit, queries, options = {}) {
  const panel = new timeseries.PanelBuilder()
    .legend(
      new common.VizLegendOptionsBuilder()
        .displayMode(common.LegendDisplayMode.Table)
        .calcs(['lastNotNull', 'max'])
        .placement(common.LegendPlacement.Bottom)
        .showLegend(true),
    )
    .tooltip(new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi).sort(common.SortOrder.Descending))
    .fillOpacity(options.isStacked ? 30 : 8)
    .lineWidth(1)
    .showPoints(common.VisibilityMode.Never);
  if (options.isStacked) panel.stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal));
  if (options.isLogarithmic)
    panel.scaleDistribution(new common.ScaleDistributionConfigBuilder().type(common.ScaleDistribution.Log).log(10));
  if (options.steps)
    panel.thresholdsStyle(new common.GraphThresholdsStyleConfigBuilder().mode(common.GraphThresholdsStyleMode.Dashed));
  return dressed(
    panel,
    { width: 8, height: 8, min: options.isLogarithmic ? undefined : 0, ...options },
    title,
    description,
    unit,
    queries,
  );
}

/**
 * One number, large, and its course behind it.
 *
 * @param {string} title
 * @param {string} description
 * @param {string} unit
 * @param {Query[]} queries
 * @param {Options} [options]
 */
export function figure(title, description, unit, queries, options = {}) {
  const panel = new stat.PanelBuilder()
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .graphMode(options.isInstant ? common.BigValueGraphMode.None : common.BigValueGraphMode.Area)
    .colorMode(common.BigValueColorMode.Value);
  return dressed(panel, { width: 4, height: 5, ...options }, title, description, unit, queries);
}

/**
 * A bar for each series, as it is now.
 *
 * @param {string} title
 * @param {string} description
 * @param {string} unit
 * @param {Query[]} queries
 * @param {Options} [options]
 */
export function bars(title, description, unit, queries, options = {}) {
  const panel = new bargauge.PanelBuilder()
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .orientation(common.VizOrientation.Horizontal)
    .displayMode(common.BarGaugeDisplayMode.Basic);
  return dressed(panel, { width: 8, height: 8, isInstant: true, ...options }, title, description, unit, queries);
}

/**
 * A band for each series, coloured by what it was.
 *
 * @param {string} title
 * @param {string} description
 * @param {Query[]} queries
 * @param {Options} [options]
 */
export function states(title, description, queries, options = {}) {
  const panel = new statetimeline.PanelBuilder()
    .showValue(common.VisibilityMode.Never)
    .rowHeight(0.8)
    .lineWidth(0)
    .fillOpacity(80);
  return dressed(panel, { width: 12, height: 6, states: GOOD, ...options }, title, description, 'short', queries);
}

/**
 * A row for each value of `by`, a column for each query; a column's own unit stands in `units`.
 *
 * @param {string} title
 * @param {string} description
 * @param {string} by
 * @param {{ query: Query, unit: string }[]} columns
 * @param {Options} [options]
 */
export function sheet(title, description, by, columns, options = {}) {
  // Grafana leaves the letter out where there is but one query.
  const names = columns.map(({ query: { legend } }, at) => [columns.length > 1 ? `Value #${letter(at)}` : 'Value', legend]);
  const panel = new table.PanelBuilder().showHeader(true).transformations([
    { id: 'joinByField', options: { byField: by, mode: 'outer' } },
    { id: 'filterFieldsByName', options: { include: { pattern: `^(${by}|Value.*)$` } } },
    { id: 'organize', options: { renameByName: Object.fromEntries(names) } },
  ]);
  for (const { query: { legend }, unit } of columns) panel.overrideByName(legend, [{ id: 'unit', value: unit }]);
  const queries = columns.map(({ query }) => query);
  return dressed(
    panel,
    { width: 24, height: 8, isInstant: true, ...options },
    title,
    description,
    'short',
    queries,
    prometheus.PromQueryFormat.Table,
  );
}

/**
 * A row for each alert that fires; its name leads to its runbook.
 *
 * @param {string} title
 * @param {string} description
 * @param {Query[]} queries of the series ALERTS
 * @param {Options} [options]
 */
export function alerts(title, description, queries, options = {}) {
  const panel = new table.PanelBuilder().showHeader(true).transformations([
    { id: 'filterFieldsByName', options: { include: { names: ['alertname', 'severity', 'job', 'instance'] } } },
    { id: 'organize', options: { indexByName: { severity: 0, alertname: 1, job: 2, instance: 3 } } },
  ]);
  panel.overrideByName('alertname', [{ id: 'links', value: [{ title: 'Its runbook', url: RUNBOOK, targetBlank: true }] }]);
  return dressed(
    panel,
    { isInstant: true, ...options },
    title,
    description,
    'short',
    queries,
    prometheus.PromQueryFormat.Table,
  );
}

/** Of the alert in a row. The variable says where runbooks are. */
const RUNBOOK = '${runbooks:raw}/${__value.raw}.md';

/** @param {number} at */
const letter = (at) => String.fromCharCode('A'.charCodeAt(0) + at);

/**
 * What all panels have.
 *
 * @template {timeseries.PanelBuilder | stat.PanelBuilder | bargauge.PanelBuilder | statetimeline.PanelBuilder | table.PanelBuilder} Builder
 * @param {Builder} panel
 * @param {Options} options
 * @param {string} title
 * @param {string} description
 * @param {string} unit
 * @param {Query[]} queries
 * @param {prometheus.PromQueryFormat} [format]
 */
function dressed(panel, options, title, description, unit, queries, format = prometheus.PromQueryFormat.TimeSeries) {
  panel.title(title).description(description).unit(unit).datasource(SOURCE).noValue('nothing measured');
  panel.span(options.width ?? 8).height(options.height ?? 8);
  if (options.min !== undefined) panel.min(options.min);
  if (options.max !== undefined) panel.max(options.max);
  if (options.decimals !== undefined) panel.decimals(options.decimals);
  const steps = [
    { value: null, color: options.below ?? 'green' },
    ...(options.steps ?? []).map(([value, color]) => ({ value, color })),
  ];
  panel.thresholds(new dashboard.ThresholdsConfigBuilder().mode(dashboard.ThresholdsMode.Absolute).steps(steps));
  if (options.states) panel.mappings([mapping(options.states)]);
  if (options.leadsTo) panel.links([link(`${PAGES[options.leadsTo]} (more of this)`, `/d/${uid(options.leadsTo)}?${ALONG}`)]);
  const ofNodes = queries.filter(({ legend }) => legend.includes('{{instance}}'));
  if (ofNodes.length > 0 && ofNodes.every(({ expression }) => !/relay|job=~/.test(expression))) {
    // Whoever clicks on an edge's line comes to that edge.
    panel.dataLinks([link('This edge by itself', `/d/${uid('edge')}?${ALONG}&var-instance=\${__field.labels.instance}`)]);
  }
  for (const [at, { expression, legend }] of queries.entries()) {
    const target = new prometheus.DataqueryBuilder()
      .datasource(SOURCE)
      .expr(expression)
      .legendFormat(legend)
      .refId(letter(at))
      .format(format);
    panel.withTarget(options.isInstant ? target.instant() : target.range());
  }
  return panel;
}

/** @param {Record<string, [text: string, colour: string]>} states */
function mapping(states) {
  const entries = Object.entries(states).map(([value, [text, color]], index) => [value, { text, color, index }]);
  return { type: dashboard.MappingType.ValueToText, options: Object.fromEntries(entries) };
}

/**
 * @param {string} title
 * @param {string} url
 */
const link = (title, url) => new dashboard.DashboardLinkBuilder(title).type(dashboard.DashboardLinkType.Link).url(url);

/**
 * A dashboard: `rows` has what it asks, and the panels that answer.
 *
 * @param {keyof typeof PAGES} page
 * @param {string} description
 * @param {[question: string, panels: ReturnType<typeof lines | typeof figure | typeof bars | typeof states | typeof sheet | typeof alerts>[]][]} rows
 */
export function page(page, description, rows) {
  const built = new dashboard.DashboardBuilder(`Causeway: ${PAGES[page]}`)
    .uid(uid(page))
    .description(description)
    .tags(['causeway'])
    .timezone('browser')
    .tooltip(dashboard.DashboardCursorSync.Crosshair)
    .time({ from: 'now-30m', to: 'now' })
    .refresh('10s')
    .readonly()
    .variables(page === 'overview' ? [...variables(), runbooks()] : variables())
    .annotations([
      new dashboard.AnnotationQueryBuilder().name('Alerts').datasource(SOURCE).enable(true).iconColor('red').expr(ALERTS),
    ])
    .link(
      new dashboard.DashboardLinkBuilder('Causeway')
        .type(dashboard.DashboardLinkType.Dashboards)
        .tags(['causeway'])
        .includeVars(true)
        .keepTime(true),
    );
  let id = 0;
  for (const [at, [question, panels]] of rows.entries()) {
    const row = new dashboard.RowBuilder(question).id((id += 1));
    if (LONG.includes(page) && at >= OPEN_ROWS) {
      for (const panel of panels) row.withPanel(panel.id((id += 1)));
      built.withRow(row.collapsed(true));
    } else {
      built.withRow(row);
      for (const panel of panels) built.withPanel(panel.id((id += 1)));
    }
  }
  return built.build();
}

const ALERTS = 'ALERTS{alertstate="firing",severity!="none",cluster="$cluster"}';

/** Where runbooks can be read: whoever has them somewhere writes it there, or into the rules and here at once (README). */
const runbooks = () =>
  new dashboard.TextBoxVariableBuilder('runbooks').label('Runbooks at').defaultValue('https://runbooks.example');

function variables() {
  const all = { text: 'All', value: '$__all', selected: true };
  return [
    new dashboard.DatasourceVariableBuilder('datasource').label('Prometheus').type('prometheus'),
    new dashboard.QueryVariableBuilder('cluster')
      .label('Cluster')
      .datasource(SOURCE)
      .query('label_values(up{job=~"causeway-.+"}, cluster)')
      .refresh(dashboard.VariableRefresh.OnTimeRangeChanged)
      .sort(dashboard.VariableSort.AlphabeticalAsc),
    new dashboard.QueryVariableBuilder('instance')
      .label('Edge')
      .datasource(SOURCE)
      .query('label_values(up{job="causeway-edge",cluster="$cluster"}, instance)')
      .refresh(dashboard.VariableRefresh.OnTimeRangeChanged)
      .sort(dashboard.VariableSort.AlphabeticalAsc)
      .multi(true)
      .includeAll(true)
      .allValue('.+')
      .current(all),
  ];
}
