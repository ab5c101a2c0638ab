// Each alert, played against its true `for`: what makes it fire, since when, and what is near and does not.
//
// `series` is what is scraped every 5 s, as promtool writes it ('1x4' is 1 and four times 1 again). From `begins` on, in
// seconds, the alert's condition holds; it must fire `for` later, and not one evaluation before that. `also` names what may
// fire beside it then. `quiet` has what must let nothing fire, looked at after `until` seconds. Cases show a part of a cluster
// only, so that alerts of WATCH, which say what is not scraped at all, count in their own cases. `every` is for what takes an
// hour: rules are evaluated that seldom.

/** How often rules are evaluated, in seconds: as ../../dashboards/prometheus.yml says. */
export const EVALUATION = 5;

/** They fire where nothing is scraped, or for ever. */
export const WATCH = ['Watchdog', 'RelayUnwatched', 'EdgesUnwatched'];

/** How long a fault may be unnoticed by the nodes themselves, in seconds, before a scrape can find it. */
export const NOTICED = new Map([
  // They say nothing any more.
  ['EdgeDown', 0],
  ['RelayDown', 0],
  // The relay asks Redis once a second, and waits 250 ms for its answer.
  ['StoreDown', 1.25],
  // What `/health` waits for.
  ['EdgeStuck', 2],
  ['RelayStuck', 2],
]);

const labels = (more) =>
  Object.entries(more)
    .map(([name, value]) => `,${name}="${value}"`)
    .join('');

/** One series of an edge (the first one, unless said), or of the relay. */
const edge = (metric, values, { n = 1, ...more } = {}) => [
  `${metric}{cluster="c",job="causeway-edge",instance="edge-${n}"${labels(more)}}`,
  values,
];
const relay = (metric, values, more = {}) => [
  `${metric}{cluster="c",job="causeway-relay",instance="relay-1"${labels(more)}}`,
  values,
];

/** The same for ever. */
const still = (value) => `${value}x1000`;

/** A counter that grows by that much a second. */
const growing = (perSecond) => `0+${perSecond * 5}x800`;

/** One value until 20 s, another from 25 s on. */
const turning = (before, after) => `${before}x4 ${after}x800`;

/** A histogram in which so many samples a second fall into the bucket up to `le`, of a few. */
const samples = (metric, le, more = {}, of = edge, perSecond = 1) =>
  [0.001, 0.1, 0.5, 2]
    .map((bound) => of(`${metric}_bucket`, bound >= le ? growing(perSecond) : still(0), { ...more, le: bound }))
    .concat([
      of(`${metric}_bucket`, growing(perSecond), { ...more, le: '+Inf' }),
      of(`${metric}_count`, growing(perSecond), more),
    ]);

const relayUp = relay('up', still(1));
const storeThere = [
  edge('edge_store_up', still(1), { connection: 'reads' }),
  edge('edge_store_up', still(1), { connection: 'reads', n: 2 }),
];

/** What comes of a certificate made at 0 for 1,000 hours that is `hours` old. */
const certificate = (hours, metric = edge, prefix = 'edge', more = {}) => [
  metric(`${prefix}_certificate_not_before_time_seconds`, still(-hours * 3600), { certificate: 'link', ...more }),
  metric(`${prefix}_certificate_not_after_time_seconds`, still((1000 - hours) * 3600), { certificate: 'link', ...more }),
];

const places = (clients, n, max = 500) => [
  edge('edge_clients', still(clients), { n }),
  edge('edge_clients_max', still(max), { n }),
  edge('edge_ready', still(1), { n }),
  edge('up', still(1), { n }),
];

export const cases = [
  {
    alert: 'EdgeDown',
    for: '30s',
    begins: 25,
    series: [
      edge('up', turning(1, 0)),
      edge('edge_ready', '1x4 stale'),
      edge('up', still(1), { n: 2 }),
      edge('edge_ready', still(1), { n: 2 }),
      relayUp,
    ],
    quiet: [
      {
        what: 'it was away for 20 s',
        series: [edge('up', '1x4 0x3 1x100'), edge('edge_ready', '1x4 stale _x2 1x100'), relayUp],
        until: 300,
      },
      {
        what: 'nobody has to care whether it is there',
        series: [
          edge('up', still(0), { watch: 'no' }),
          edge('up', still(0), { n: 2, watch: 'no' }),
          relay('up', still(0), { watch: 'no' }),
        ],
        until: 600,
      },
    ],
  },
  {
    alert: 'EdgeDown',
    what: 'it was never there',
    for: '30s',
    begins: 0,
    series: [edge('up', still(0)), edge('up', still(1), { n: 2 }), edge('edge_ready', still(1), { n: 2 }), relayUp],
  },
  {
    alert: 'EdgeDown',
    what: 'the whole cluster is dead, and stays so',
    for: '30s',
    begins: 25,
    also: ['RelayDown'],
    series: [edge('up', turning(1, 0)), relay('up', turning(1, 0))],
    stays: { until: 1800, with: ['RelayDown', 'FewEdgesReady'] },
  },
  {
    alert: 'RelayDown',
    for: '30s',
    begins: 25,
    // Its edges are unlinked, and say nothing of it.
    series: [relay('up', turning(1, 0)), edge('up', still(1)), edge('edge_link_up', turning(1, 0)), edge('edge_ready', still(1))],
    quiet: [
      {
        what: 'it was away for 20 s',
        series: [relay('up', '1x4 0x3 1x100'), edge('up', still(1)), edge('edge_ready', still(1))],
        until: 300,
      },
    ],
  },
  {
    alert: 'EdgeStuck',
    for: '15s',
    begins: 25,
    // What it said last of its link stays as it was.
    series: [edge('edge_loop_age_seconds', '0.1x4 5+5x800'), edge('edge_link_up', still(0)), edge('up', still(1)), relayUp],
    quiet: [
      { what: 'it turns twice a second', series: [edge('edge_loop_age_seconds', still(0.5))], until: 600 },
      { what: 'it stood still, and goes on', series: [edge('edge_loop_age_seconds', '0.1x4 9x2 0.1x100')], until: 300 },
    ],
  },
  {
    alert: 'RelayStuck',
    for: '15s',
    begins: 25,
    // Its edges are unlinked, and so are their messages not known; they say nothing of either.
    series: [
      relay('relay_loop_age_seconds', '0.1x4 5+5x800'),
      relayUp,
      edge('edge_link_up', turning(1, 0)),
      edge('edge_link_up', turning(1, 0), { n: 2 }),
      edge('edge_receipts_total', growing(5), { verdict: 'unknown' }),
    ],
    quiet: [
      { what: 'it turns twice a second', series: [relay('relay_loop_age_seconds', still(0.5))], until: 600 },
      {
        what: 'it stood still, and goes on',
        series: [relay('relay_loop_age_seconds', '0.1x4 9x2 0.1x100'), edge('edge_link_up', '1x4 0x4 1x100'), relayUp],
        until: 300,
      },
    ],
  },
  {
    alert: 'FewEdgesReady',
    for: '1m',
    begins: 25,
    series: [1, 2, 3].flatMap((n) => [
      edge('up', still(1), { n }),
      edge('edge_ready', n === 1 ? still(1) : turning(1, 0), { n }),
      edge('edge_link_up', still(0), { n }),
    ]),
    quiet: [
      {
        what: 'half of them are',
        series: [1, 2].flatMap((n) => [
          edge('up', still(1), { n }),
          edge('edge_ready', still(n - 1), { n }),
          edge('edge_link_up', still(0), { n }),
        ]),
        until: 600,
      },
      {
        what: 'one of three is dead',
        series: [edge('up', '1x4 0x4 1x100'), edge('edge_ready', '1x4 stale _x3 1x100'), ...places(10, 2), ...places(10, 3)],
        until: 600,
      },
    ],
  },
  {
    alert: 'FewEdgesReady',
    what: 'all of them are dead',
    for: '1m',
    begins: 25,
    also: ['EdgeDown'],
    series: [1, 2].flatMap((n) => [edge('up', turning(1, 0), { n }), edge('edge_ready', '1x4 stale', { n })]),
  },
  {
    alert: 'EdgeNotReady',
    for: '2m',
    begins: 25,
    series: [
      edge('edge_ready', turning(1, 0)),
      edge('edge_ready', still(1), { n: 2 }),
      edge('edge_link_up', still(1)),
      edge('edge_connections', still(10), { door: 'line' }),
      edge('edge_clients_max', still(500)),
    ],
    quiet: [
      {
        what: 'it is full',
        series: [
          edge('edge_ready', still(0)),
          edge('edge_ready', still(1), { n: 2 }),
          edge('edge_link_up', still(1)),
          edge('edge_connections', still(300), { door: 'line' }),
          edge('edge_connections', still(200), { door: 'websocket' }),
          edge('edge_clients_max', still(500)),
        ],
        until: 600,
      },
      {
        what: 'it is unlinked, with its relay',
        series: [edge('edge_ready', still(0)), edge('edge_ready', still(1), { n: 2 }), edge('edge_link_up', still(0))],
        until: 600,
      },
    ],
  },
  {
    alert: 'EdgeFroze',
    for: '15s',
    begins: 25,
    series: [edge('edge_freezes_total', turning(0, 1))],
    quiet: [{ what: 'long ago', series: [edge('edge_freezes_total', still(3))], until: 600 }],
  },
  {
    alert: 'RelayFroze',
    for: '15s',
    begins: 25,
    series: [relay('relay_freezes_total', turning(0, 1))],
    quiet: [{ what: 'long ago', series: [relay('relay_freezes_total', still(3))], until: 600 }],
  },
  {
    alert: 'RestartedRepeatedly',
    for: '15s',
    begins: 75,
    series: [edge('edge_start_time_seconds', '100x4 200x4 300x4 400x800')],
    quiet: [{ what: 'twice', series: [relay('relay_start_time_seconds', '100x4 200x4 300x800')], until: 600 }],
  },
  {
    alert: 'EventLoopSaturated',
    for: '5m',
    begins: 60,
    series: [edge('edge_runtime_busy_seconds_total', growing(0.95))],
    quiet: [{ what: 'busy and no more', series: [relay('relay_runtime_busy_seconds_total', growing(0.85))], until: 900 }],
  },
  {
    alert: 'FileDescriptorsNearlyGone',
    for: '1m',
    begins: 25,
    series: [edge('process_open_fds', turning(100, 850)), edge('process_max_fds', still(1000))],
    quiet: [
      { what: 'some left', series: [edge('process_open_fds', still(750)), edge('process_max_fds', still(1000))], until: 600 },
    ],
  },
  {
    alert: 'UdpDrops',
    for: '1m',
    begins: 5,
    series: [relay('relay_udp_drops_total', growing(10), { socket: 'link' })],
    quiet: [{ what: 'one in a minute', series: [edge('edge_udp_drops_total', growing(1 / 60), { socket: 'link' })], until: 600 }],
  },
  {
    alert: 'VersionSkew',
    for: '1h',
    every: 60,
    begins: 60,
    series: [edge('edge_build_info', still(1), { version: '1' }), relay('relay_build_info', '_x10 1x800', { version: '2' })],
    quiet: [
      {
        what: 'alike',
        series: [edge('edge_build_info', still(1), { version: '1' }), relay('relay_build_info', still(1), { version: '1' })],
        until: 3900,
      },
    ],
  },
  {
    alert: 'EdgeUnlinked',
    for: '30s',
    begins: 25,
    series: [edge('edge_link_up', turning(1, 0)), relayUp],
    quiet: [
      { what: 'the relay is down', series: [edge('edge_link_up', still(0)), relay('up', still(0), { watch: 'no' })], until: 600 },
      { what: 'it was away for 20 s', series: [edge('edge_link_up', '1x4 0x3 1x100'), relayUp], until: 300 },
      {
        what: 'it has no relay',
        series: [edge('edge_link_up', still(0)), edge('edge_ready', still(1)), edge('up', still(1))],
        until: 600,
      },
    ],
  },
  {
    alert: 'EdgesLost',
    for: '1m',
    begins: 25,
    series: [relay('relay_edges_lost', turning(0, 1))],
    quiet: [{ what: 'given up in time', series: [relay('relay_edges_lost', '0x4 1x2 0x100')], until: 300 }],
  },
  {
    alert: 'EdgesReaped',
    for: '1m',
    begins: 25,
    series: [relay('relay_edges_reaped_total', turning(0, 20)), relay('relay_edges', still(3))],
    quiet: [
      {
        what: 'a roll-out',
        series: [relay('relay_edges_reaped_total', turning(0, 3)), relay('relay_edges', still(3))],
        until: 600,
      },
    ],
  },
  {
    alert: 'CanaryLost',
    for: '2m',
    begins: 5,
    series: [
      edge('edge_canaries_total', growing(0.2), { result: 'lost' }),
      edge('edge_canaries_total', growing(0.8), { result: 'returned' }),
      edge('edge_link_up', still(1)),
    ],
    quiet: [
      {
        what: 'one in fifty',
        series: [
          edge('edge_canaries_total', growing(0.02), { result: 'lost' }),
          edge('edge_canaries_total', growing(0.98), { result: 'returned' }),
          edge('edge_link_up', still(1)),
        ],
        until: 600,
      },
      {
        what: 'there is no link',
        series: [edge('edge_canaries_total', growing(1), { result: 'lost' }), edge('edge_link_up', still(0))],
        until: 600,
      },
      {
        what: 'none is sent',
        series: [edge('edge_canaries_total', still(7), { result: 'lost' }), edge('edge_link_up', still(1))],
        until: 600,
      },
    ],
  },
  {
    alert: 'CanarySlow',
    for: '5m',
    begins: 5,
    series: samples('edge_canary_seconds', 0.5),
    quiet: [{ what: 'quick', series: samples('edge_canary_seconds', 0.1), until: 900 }],
  },
  {
    alert: 'LinkLosesPackets',
    for: '5m',
    begins: 5,
    series: [edge('edge_link_packets_lost_total', growing(10)), edge('edge_link_packets_sent_total', growing(100))],
    quiet: [
      {
        what: 'one in a hundred',
        series: [edge('edge_link_packets_lost_total', growing(1)), edge('edge_link_packets_sent_total', growing(100))],
        until: 900,
      },
      {
        what: 'hardly any are sent',
        series: [edge('edge_link_packets_lost_total', growing(0.1)), edge('edge_link_packets_sent_total', growing(0.5))],
        until: 900,
      },
    ],
  },
  {
    alert: 'LaneNearlyFull',
    for: '1m',
    begins: 25,
    series: [relay('relay_link_fullest_lane_bytes', turning(0, 700_000)), relay('relay_link_lane_bytes_max', still(1_048_576))],
    quiet: [
      {
        what: 'a burst',
        series: [edge('edge_link_fullest_lane_bytes', '0x4 900000x2 0x100'), edge('edge_link_lane_bytes_max', still(1_048_576))],
        until: 300,
      },
    ],
  },
  {
    alert: 'CopiesRefused',
    for: '15s',
    begins: 25,
    series: [relay('relay_copies_refused_total', turning(0, 3))],
    quiet: [{ what: 'long ago', series: [relay('relay_copies_refused_total', still(3))], until: 600 }],
  },
  {
    alert: 'PublicationsMissing',
    for: '15s',
    begins: 25,
    series: [relay('relay_publications_missing_total', turning(0, 1))],
    quiet: [{ what: 'none', series: [relay('relay_publications_missing_total', still(0))], until: 600 }],
  },
  {
    alert: 'StrangersAtRelay',
    for: '5m',
    begins: 15,
    series: [relay('relay_handshakes_failed_total', growing(3)), relay('relay_newcomers_ended_total', still(0))],
    quiet: [
      {
        what: 'one now and then',
        series: [relay('relay_handshakes_failed_total', growing(0.01)), relay('relay_newcomers_ended_total', still(0))],
        until: 900,
      },
    ],
  },
  {
    alert: 'StoreDown',
    for: '30s',
    begins: 25,
    // Nobody's own alert beside it, nor what comes of it.
    series: [
      edge('edge_store_up', turning(1, 0), { connection: 'reads' }),
      edge('edge_store_up', still(1), { connection: 'writes' }),
      relay('relay_store_up', turning(1, 0), { connection: 'writes' }),
      edge('edge_routes_pending', turning(0, 5)),
      edge('edge_leased', turning(1, 0)),
      edge('edge_link_up', still(1)),
      edge('edge_store_errors_total', growing(1), { kind: 'timeout' }),
      edge('edge_receipts_total', growing(5), { verdict: 'unknown' }),
    ],
    quiet: [{ what: 'for 20 s', series: [edge('edge_store_up', '1x4 0x3 1x100', { connection: 'reads' })], until: 300 }],
  },
  {
    alert: 'StoreDownForNode',
    for: '1m',
    begins: 25,
    series: [...storeThere, relay('relay_store_up', turning(1, 0), { connection: 'reads' })],
    quiet: [
      { what: 'all are well', series: [...storeThere, relay('relay_store_up', still(1), { connection: 'reads' })], until: 600 },
    ],
  },
  {
    alert: 'StoreErrors',
    for: '15s',
    begins: 25,
    series: [
      relay('relay_store_errors_total', turning(0, 2), { kind: 'out_of_memory' }),
      edge('edge_store_errors_total', still(0), { kind: 'auth' }),
    ],
    quiet: [{ what: 'it is loading', series: [edge('edge_store_errors_total', turning(0, 2), { kind: 'loading' })], until: 600 }],
  },
  {
    alert: 'StoreUnsteady',
    for: '10m',
    begins: 10,
    series: [edge('edge_store_errors_total', growing(1), { kind: 'timeout' }), ...storeThere],
    quiet: [
      {
        what: 'it was away, once',
        series: [edge('edge_store_errors_total', turning(0, 100), { kind: 'unreachable' }), ...storeThere],
        until: 1200,
      },
    ],
  },
  {
    alert: 'StoreSlow',
    for: '5m',
    begins: 5,
    series: samples('relay_store_operation_seconds', 0.5, { operation: 'beat' }, relay),
    quiet: [
      { what: 'quick', series: samples('edge_store_operation_seconds', 0.001, { operation: 'holders' }), until: 900 },
      { what: 'a sweep', series: samples('relay_store_operation_seconds', 0.5, { operation: 'sweep' }, relay), until: 900 },
    ],
  },
  {
    alert: 'RelayIncomplete',
    for: '1m',
    begins: 25,
    series: [relay('relay_complete', turning(1, 0)), relay('relay_edges', still(2))],
    quiet: [
      { what: 'an edge died', series: [relay('relay_complete', '1x4 0x1 1x100'), relay('relay_edges', still(2))], until: 300 },
      { what: 'it has no edges', series: [relay('relay_complete', still(0)), relay('relay_edges', still(0))], until: 600 },
    ],
  },
  {
    alert: 'EdgeUnleased',
    for: '1m',
    begins: 25,
    series: [edge('edge_leased', turning(1, 0)), edge('edge_link_up', still(1)), ...storeThere],
    quiet: [
      {
        what: 'it has no link',
        series: [edge('edge_leased', still(0)), edge('edge_link_up', still(0)), ...storeThere],
        until: 600,
      },
    ],
  },
  {
    alert: 'RoutesPending',
    for: '2m',
    begins: 85,
    series: [edge('edge_routes_pending', turning(0, 3)), ...storeThere],
    quiet: [
      {
        what: 'always some, and always written',
        series: [edge('edge_routes_pending', Array.from({ length: 100 }, () => '3x4 0').join(' ')), ...storeThere],
        until: 600,
      },
    ],
  },
  {
    alert: 'MemoriesDiffer',
    for: '10m',
    begins: 10,
    series: [edge('edge_memories_differ_total', growing(1))],
    quiet: [{ what: 'after a death', series: [edge('edge_memories_differ_total', turning(0, 200))], until: 1200 }],
  },
  {
    alert: 'GhostRoutes',
    for: '15s',
    begins: 25,
    series: [relay('relay_ghost_routes_total', turning(0, 1))],
    quiet: [{ what: 'none', series: [relay('relay_ghost_routes_total', still(0))], until: 600 }],
  },
  {
    alert: 'ClusterFull',
    for: '1m',
    begins: 0,
    series: [...places(490, 1), ...places(495, 2)],
    quiet: [{ what: 'one edge has room', series: [...places(495, 1), ...places(400, 2)], until: 120 }],
  },
  {
    alert: 'EdgeFull',
    for: '1m',
    begins: 5,
    series: [...places(500, 1), ...places(10, 2), edge('edge_refusals_total', growing(1), { reason: 'full', door: 'line' })],
    quiet: [
      {
        what: 'full, and nobody comes',
        series: [edge('edge_refusals_total', still(9), { reason: 'full', door: 'line' })],
        until: 600,
      },
    ],
  },
  {
    alert: 'EdgeNearlyFull',
    for: '5m',
    begins: 0,
    series: [...places(450, 1), ...places(10, 2)],
    quiet: [{ what: 'some places left', series: [...places(400, 1), ...places(10, 2)], until: 900 }],
  },
  {
    alert: 'HeadroomGone',
    for: '10m',
    begins: 0,
    series: [...places(400, 1), ...places(310, 2), ...places(300, 3)],
    quiet: [
      { what: 'one may die', series: [...places(300, 1), ...places(310, 2), ...places(300, 3)], until: 1200 },
      { what: 'there is but one', series: places(300, 1), until: 1200 },
    ],
  },
  {
    alert: 'UnknownVerdicts',
    for: '2m',
    begins: 35,
    series: [
      edge('edge_receipts_total', growing(1), { verdict: 'unknown' }),
      edge('edge_receipts_total', growing(9), { verdict: 'delivered' }),
      relayUp,
    ],
    quiet: [
      {
        what: 'one a minute, of few',
        series: [
          edge('edge_receipts_total', growing(1 / 60), { verdict: 'unknown' }),
          edge('edge_receipts_total', growing(0.25), { verdict: 'delivered' }),
          relayUp,
        ],
        until: 800,
      },
      {
        what: 'the relay is down',
        series: [
          edge('edge_receipts_total', growing(1), { verdict: 'unknown' }),
          edge('edge_link_up', still(0)),
          relay('up', still(0), { watch: 'no' }),
        ],
        until: 600,
      },
      {
        what: 'a message in a minute',
        series: [edge('edge_receipts_total', growing(1 / 60), { verdict: 'unknown' }), relayUp],
        until: 600,
      },
      {
        what: 'a burst',
        series: [
          edge('edge_receipts_total', turning(0, 200), { verdict: 'unknown' }),
          edge('edge_receipts_total', growing(9), { verdict: 'delivered' }),
          relayUp,
        ],
        until: 170,
      },
      {
        what: 'one in five hundred',
        series: [
          edge('edge_receipts_total', growing(0.02), { verdict: 'unknown' }),
          edge('edge_receipts_total', growing(10), { verdict: 'delivered' }),
          relayUp,
        ],
        until: 1200,
      },
    ],
  },
  {
    alert: 'UnknownVerdictsLinger',
    for: '15m',
    begins: 5,
    series: [
      edge('edge_receipts_total', growing(0.1), { verdict: 'unknown' }),
      edge('edge_receipts_total', growing(9.9), { verdict: 'delivered' }),
      relayUp,
    ],
    quiet: [
      {
        what: 'a burst',
        series: [
          edge('edge_receipts_total', turning(0, 600), { verdict: 'unknown' }),
          edge('edge_receipts_total', growing(10), { verdict: 'delivered' }),
          relayUp,
        ],
        until: 1500,
      },
    ],
  },
  {
    alert: 'ReceiptsSlow',
    for: '2m',
    begins: 105,
    series: samples('edge_receipt_seconds', 2, { verdict: 'delivered' }, edge, 3),
    quiet: [
      { what: 'quick', series: samples('edge_receipt_seconds', 0.5, { verdict: 'delivered' }, edge, 3), until: 900 },
      {
        what: 'one now and then, beside many that are not known',
        series: [
          ...samples('edge_receipt_seconds', 2, { verdict: 'delivered' }, edge, 0.3),
          ...samples('edge_receipt_seconds', 2, { verdict: 'unknown' }, edge, 20),
        ],
        until: 900,
      },
      {
        what: 'a freeze',
        series: [
          ...samples('edge_receipt_seconds', 0.1, { verdict: 'delivered' }, edge, 3),
          ...samples('edge_receipt_seconds', 2, { verdict: 'offline' }).map(([name]) => [
            name,
            name.includes('"2"') || name.includes('Inf') || name.includes('_count') ? turning(0, 100) : still(0),
          ]),
        ],
        until: 900,
      },
      {
        what: 'those that are not known',
        series: samples('edge_receipt_seconds', 2, { verdict: 'unknown' }, edge, 3),
        until: 900,
      },
    ],
  },
  {
    alert: 'SlowConsumers',
    for: '1m',
    begins: 25,
    series: [edge('edge_disconnects_total', turning(0, 100), { code: '3008' }), edge('edge_clients', still(400))],
    quiet: [
      {
        what: 'some',
        series: [edge('edge_disconnects_total', turning(0, 10), { code: '3008' }), edge('edge_clients', still(400))],
        until: 600,
      },
      {
        what: 'they went by themselves',
        series: [edge('edge_disconnects_total', turning(0, 400), { code: '3000' }), edge('edge_clients', still(400))],
        until: 600,
      },
    ],
  },
  {
    alert: 'NewcomersEnded',
    for: '1m',
    begins: 5,
    series: [edge('edge_newcomers_ended_total', growing(20), { door: 'http' })],
    quiet: [
      { what: 'one now and then', series: [edge('edge_newcomers_ended_total', growing(0.1), { door: 'http' })], until: 600 },
    ],
  },
  {
    alert: 'RefusalsFlood',
    for: '5m',
    begins: 5,
    series: [edge('edge_refusals_total', growing(100), { reason: 'origin', door: 'websocket' })],
    quiet: [
      {
        what: 'some',
        series: [edge('edge_refusals_total', growing(0.1), { reason: 'handshake', door: 'websocket' })],
        until: 900,
      },
    ],
  },
  {
    alert: 'CertificateExpires',
    for: '1h',
    every: 60,
    begins: 0,
    series: certificate(750),
    quiet: [
      { what: 'it is renewed when a third is left, and somewhat later', series: certificate(690), until: 4800 },
      {
        what: 'nobody watches it, and it renews itself',
        series: certificate(800, edge, 'edge', { certificate: 'public', watch: 'no' }),
        until: 4800,
      },
    ],
  },
  {
    alert: 'CertificateExpiresSoon',
    for: '15m',
    every: 60,
    begins: 0,
    series: certificate(950, relay, 'relay'),
    stays: { until: 3700, with: ['CertificateExpires'] },
    quiet: [{ what: 'a fifth is left', series: certificate(800, relay, 'relay'), until: 3500 }],
  },
  {
    alert: 'CertificateRefused',
    for: '1m',
    begins: 25,
    series: [relay('relay_certificate_refused', turning(0, 1), { certificate: 'link' })],
    quiet: [
      {
        what: 'seen half-written',
        series: [edge('edge_certificate_refused', '0x4 1x2 0x100', { certificate: 'public' })],
        until: 300,
      },
    ],
  },
  {
    alert: 'Watchdog',
    for: '0s',
    begins: 0,
    series: [edge('up', still(1)), relayUp, edge('edge_link_up', still(1)), edge('edge_ready', still(1))],
    quiet: [{ what: 'nothing is scraped', series: [['up{job="prometheus",instance="itself"}', still(1)]], until: 600 }],
  },
  {
    alert: 'RelayUnwatched',
    for: '5m',
    begins: 0,
    also: ['Watchdog'],
    series: [edge('up', still(1)), edge('edge_link_up', still(1))],
    quiet: [
      { what: 'it is watched', series: [edge('edge_link_up', still(1)), relayUp, edge('up', still(1))], until: 900 },
      { what: 'an edge by itself has none', series: [edge('edge_link_up', still(0)), edge('up', still(1))], until: 900 },
    ],
  },
  {
    alert: 'EdgesUnwatched',
    for: '5m',
    begins: 0,
    also: ['Watchdog'],
    series: [relayUp],
    quiet: [{ what: 'they are watched', series: [relayUp, edge('up', still(1))], until: 900 }],
  },
];
