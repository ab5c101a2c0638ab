// The first page: is it well, how full is it, what is slow, whom does it hurt, and what if a machine dies.

import { BAD, GOOD, alerts, bars, figure, lines, page, sheet, states } from './panels.mjs';
import { CLUSTER, RELAYS, quantile, query, rate, rates, share } from './queries.mjs';

/** A store counts as there for a node only where both of its connections are. */
const storeUp = (/** @type {string} */ node) => `min by (instance) (${node}_store_up{${CLUSTER}})`;

/** Places on edges that take clients: what is free on each, and on all of them. */
const free = `(edge_clients_max{${CLUSTER}} - edge_clients{${CLUSTER}}) * edge_ready{${CLUSTER}}`;
const leftWithout = `sum by (cluster) (${free}) - on (cluster) group_right () (${free} + edge_clients{${CLUSTER}})`;

/** Of each edge that is scraped, whether it takes clients; one that does not answer counts as its `up`, 0. */
const ready = `edge_ready{${CLUSTER}} or on (instance) up{${CLUSTER},job="causeway-edge"} == 0`;

/** What fires, without the alert that always does; nothing where nobody evaluates the rules. */
const firing = `count(ALERTS{alertstate="firing",${CLUSTER}}) - count(ALERTS{alertname="Watchdog",${CLUSTER}})`;

const total = rates('', 'edge_receipts_total', CLUSTER);

export default page(
  'overview',
  'Is the cluster well, how full is it, what is slow, whom does it hurt, and what happens if a machine dies.',
  [
    [
      'Is it well? Service levels',
      [
        figure(
          'Messages with a known end',
          'Share of directed messages whose sender was told delivered or offline, and not "not known". Wanted: 99.9 %.',
          'percentunit',
          [query(`1 - ${share(rates('', 'edge_receipts_total', `${CLUSTER},verdict="unknown"`), total)}`, 'known')],
          {
            width: 5,
            max: 1,
            decimals: 2,
            below: 'red',
            steps: [
              [0.95, 'yellow'],
              [0.999, 'green'],
            ],
            leadsTo: 'clients',
          },
        ),
        figure(
          'Receipts, 99th percentile',
          'Time from a message that crosses the relay to its verdict. 99 of 100 are faster.',
          's',
          [query(quantile(0.99, '', 'edge_receipt_seconds', CLUSTER), 'p99')],
          {
            width: 5,
            steps: [
              [0.25, 'yellow'],
              [1, 'red'],
            ],
            leadsTo: 'clients',
          },
        ),
        figure(
          'Canaries that come back',
          'Each edge sends itself one publication a second over the relay; share of those that came back.',
          'percentunit',
          [
            query(
              share(rates('', 'edge_canaries_total', `${CLUSTER},result="returned"`), rates('', 'edge_canaries_total', CLUSTER)),
              'returned',
            ),
          ],
          {
            width: 5,
            max: 1,
            decimals: 2,
            below: 'red',
            steps: [
              [0.95, 'yellow'],
              [0.999, 'green'],
            ],
            leadsTo: 'relay',
          },
        ),
        figure(
          'Edges that take clients',
          'Share of all edges that are scraped which say that clients should be sent to them (/ready).',
          'percentunit',
          [query(`avg(${ready})`, 'ready')],
          {
            width: 5,
            max: 1,
            decimals: 0,
            below: 'red',
            steps: [
              [0.5, 'yellow'],
              [1, 'green'],
            ],
            leadsTo: 'edge',
          },
        ),
        figure(
          'Alerts that fire',
          'Alerts of dashboards/rules that fire now, pages and tickets; which, stands below.',
          'short',
          [query(firing, 'alerts')],
          { width: 4, decimals: 0, steps: [[1, 'orange']] },
        ),
      ],
    ],
    [
      'Who is there, and what fires?',
      [
        alerts(
          'What fires',
          'Each alert that fires, and where; a click on its name opens its runbook. Watchdog is always there: where it is not, nobody evaluates the rules.',
          [query(`ALERTS{alertstate="firing",${CLUSTER}}`, 'fires')],
          { width: 12, height: 6 },
        ),
        states(
          'Nodes that answer',
          'Edges and relays whose metrics could be read. A node that is frozen or dead does not answer.',
          [query(`up{${CLUSTER},job=~"causeway-.+"}`, '{{job}} {{instance}}')],
        ),
        states(
          'Event loops that turn',
          'Whether the event loop of a node has turned in the last 2 s. Of one that has not, all other metrics are old.',
          [
            query(`edge_loop_age_seconds{${CLUSTER}} <= bool 2`, 'edge {{instance}}'),
            query(`relay_loop_age_seconds{${CLUSTER}} <= bool 2`, 'relay {{instance}}'),
          ],
          { leadsTo: 'edge' },
        ),
        states(
          'Edges that are ready',
          'What /ready says. Not ready: stopping, full, or without a link that works while other edges have one.',
          [query(`edge_ready{${CLUSTER}}`, '{{instance}}')],
          { leadsTo: 'edge' },
        ),
      ],
    ],
    [
      'How full is it, and what if a machine dies?',
      [
        bars(
          'Each edge against its limit',
          'Clients that are logged in, as a share of what the edge lets in (--max-clients).',
          'percentunit',
          [query(`edge_clients{${CLUSTER}} / edge_clients_max{${CLUSTER}}`, '{{instance}}')],
          {
            width: 6,
            min: 0,
            max: 1,
            steps: [
              [0.85, 'yellow'],
              [1, 'red'],
            ],
            leadsTo: 'edge',
          },
        ),
        bars(
          'Places left if this edge dies',
          'Free places on the other edges, less the clients that this one would send there. Below 0, some of them find no place.',
          'short',
          [query(leftWithout, '{{instance}}')],
          {
            width: 6,
            below: 'red',
            steps: [
              [0, 'yellow'],
              [50, 'green'],
            ],
          },
        ),
        lines(
          'Clients and places',
          'Clients logged in, and places on edges that answer. What is between them is free.',
          'short',
          [query(`sum(edge_clients{${CLUSTER}})`, 'clients'), query(`sum(edge_clients_max{${CLUSTER}})`, 'places')],
          { width: 8, leadsTo: 'clients' },
        ),
        figure('Clients', 'Clients logged in now, on all edges.', 'short', [query(`sum(edge_clients{${CLUSTER}})`, 'clients')], {
          width: 4,
          height: 8,
        }),
      ],
    ],
    [
      'How much is going on?',
      [
        lines(
          'Messages, by what became of them',
          'accepted: publications. delivered, offline, rejected, unknown: directed messages, by verdict.',
          'cps',
          [query(rates('outcome', 'edge_messages_total', CLUSTER), '{{outcome}}')],
          { isStacked: true, leadsTo: 'clients' },
        ),
        lines(
          'Pushes to clients',
          'Publications that were put into the outboxes of clients, on each edge.',
          'cps',
          [query(rates('instance', 'edge_pushes_total', CLUSTER), '{{instance}}')],
          { isStacked: true, leadsTo: 'edge' },
        ),
        lines(
          'Publications over the relay',
          'What came to the relay from edges, and the copies that it sent on.',
          'cps',
          [
            query(rates('', 'relay_publications_total', RELAYS), 'publications'),
            query(rates('', 'relay_copies_forwarded_total', RELAYS), 'copies'),
          ],
          { leadsTo: 'relay' },
        ),
      ],
    ],
    [
      'What is slow?',
      [
        lines(
          'Each stage, 99th percentile',
          'The way of a message, in pieces: through an edge inwards and outwards, through the relay, once to the relay and back (heartbeat, canary), all of it (receipt), and calls to the store, which messages wait for only before somebody is called offline.',
          's',
          [
            query(quantile(0.99, 'stage', 'edge_stage_seconds', CLUSTER), 'edge, {{stage}}'),
            query(quantile(0.99, '', 'relay_stage_seconds', RELAYS), 'relay'),
            query(quantile(0.99, '', 'edge_link_rtt_seconds', CLUSTER), 'heartbeat'),
            query(quantile(0.99, '', 'edge_canary_seconds', CLUSTER), 'canary'),
            query(quantile(0.99, '', 'edge_receipt_seconds', CLUSTER), 'receipt'),
            query(quantile(0.99, '', 'edge_store_operation_seconds', CLUSTER), 'store'),
          ],
          { width: 12, isLogarithmic: true, leadsTo: 'relay' },
        ),
        lines(
          'How busy each node is',
          'Share of the time in which the thread that moves messages was at work. At 1 it cannot do more: start another edge.',
          'percentunit',
          [
            query(rate('edge_runtime_busy_seconds_total', CLUSTER), '{{instance}}'),
            query(rate('relay_runtime_busy_seconds_total', RELAYS), 'relay {{instance}}'),
          ],
          { width: 12, max: 1, steps: [[0.9, 'red']], leadsTo: 'edge' },
        ),
      ],
    ],
    [
      'Whom does it hurt?',
      [
        lines(
          'Not known, by edge of the sender',
          'Directed messages whose sender was told that nobody can tell: a link or an edge failed meanwhile, or is busy.',
          'cps',
          [query(rates('instance', 'edge_receipts_total', `${CLUSTER},verdict="unknown"`), '{{instance}}')],
          { leadsTo: 'clients' },
        ),
        lines(
          'Clients let go, by code',
          'All but those that went by themselves (3000). 3001 shutdown, 3005 token expired, 3008 reads too slowly, 3012 no pong.',
          'cps',
          [query(rates('code', 'edge_disconnects_total', `${CLUSTER},code!="3000"`), '{{code}}')],
          { leadsTo: 'clients' },
        ),
        lines(
          'Connections turned away',
          'full: 503, no place left. origin: a page of a foreign origin. handshake: neither WebSocket nor WebTransport, or not in time. newcomers: had to make room before they had logged in.',
          'cps',
          [
            query(rates('reason', 'edge_refusals_total', CLUSTER), '{{reason}}'),
            query(rates('', 'edge_newcomers_ended_total', CLUSTER), 'newcomers'),
          ],
          { leadsTo: 'clients' },
        ),
      ],
    ],
    [
      'Does the cluster remember?',
      [
        states(
          'Redis, as each node sees it',
          'Whether the last that a node heard of Redis on each of its two connections was good.',
          [query(storeUp('edge'), 'edge {{instance}}'), query(storeUp('relay'), 'relay {{instance}}')],
          { leadsTo: 'redis' },
        ),
        states(
          'The relay is complete, edges are linked',
          'While a relay is not complete, or an edge not linked, people who are absent are not known instead of offline, and messages to other edges get error 100.',
          [
            query(`relay_complete{${CLUSTER}}`, 'complete {{instance}}'),
            query(`edge_link_up{${CLUSTER}}`, 'linked {{instance}}'),
          ],
          { leadsTo: 'relay' },
        ),
      ],
    ],
    [
      'Each edge',
      [
        sheet('Edges', 'One line for each edge that answers. More of it stands on the page about edges.', 'instance', [
          { query: query(`sum by (instance) (edge_clients{${CLUSTER}})`, 'clients'), unit: 'short' },
          { query: query(`sum by (instance) (edge_clients_max{${CLUSTER}})`, 'at most'), unit: 'short' },
          { query: query(`sum by (instance) (edge_ready{${CLUSTER}})`, 'ready'), unit: 'bool_yes_no' },
          { query: query(`sum by (instance) (edge_link_smoothed_rtt_seconds{${CLUSTER}})`, 'to the relay and back'), unit: 's' },
          { query: query(`sum by (instance) (${rate('edge_messages_received_total', CLUSTER)})`, 'messages'), unit: 'cps' },
          { query: query(`sum by (instance) (${rate('edge_pushes_total', CLUSTER)})`, 'pushes'), unit: 'cps' },
          {
            query: query(`sum by (instance) (${rate('process_cpu_seconds_total', `${CLUSTER},job="causeway-edge"`)})`, 'cores'),
            unit: 'percentunit',
          },
          {
            query: query(`sum by (instance) (process_resident_memory_bytes{${CLUSTER},job="causeway-edge"})`, 'memory'),
            unit: 'bytes',
          },
          { query: query(`sum by (instance) (time() - edge_start_time_seconds{${CLUSTER}})`, 'runs for'), unit: 's' },
        ]),
        states(
          'Certificates that are refused',
          'A certificate on disk that cannot be used (the one before is used on), by node.',
          [
            query(`max by (instance) (edge_certificate_refused{${CLUSTER}})`, 'edge {{instance}}'),
            query(`max by (instance) (relay_certificate_refused{${CLUSTER}})`, 'relay {{instance}}'),
          ],
          { states: BAD, height: 5 },
        ),
        states(
          'Leases',
          'Whether the store has the lease of each edge: routes are written only then.',
          [query(`edge_leased{${CLUSTER}}`, '{{instance}}')],
          { states: GOOD, height: 5, leadsTo: 'redis' },
        ),
      ],
    ],
  ],
);
