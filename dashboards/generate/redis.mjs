// Redis and the routes: whether the cluster remembers who holds what, and whether its memories agree.

import { figure, lines, page, states } from './panels.mjs';
import { CLUSTER, EDGES, RELAYS, quantile, query, rate, rates, share } from './queries.mjs';

export default page(
  'redis',
  'Whether the cluster remembers who holds what: Redis as each node sees it, leases and routes, and where memories differ.',
  [
    [
      'Is it there?',
      [
        states('As edges see it', 'Whether the last that was heard on each of the two connections of an edge was good.', [
          query(`edge_store_up{${EDGES}}`, '{{connection}} {{instance}}'),
        ]),
        states('As the relay sees it', 'Whether the last that was heard on each of the two connections of the relay was good.', [
          query(`relay_store_up{${RELAYS}}`, '{{connection}} {{instance}}'),
        ]),
        lines(
          'Errors, by kind',
          'Failed tries to connect, connections given up, and answers that were errors, of all nodes.',
          'cps',
          [
            query(`sum by (kind) (${rate('edge_store_errors_total', CLUSTER)})`, 'edges, {{kind}}'),
            query(`sum by (kind) (${rate('relay_store_errors_total', RELAYS)})`, 'relay, {{kind}}'),
          ],
        ),
        lines('Connections made anew', 'Each took the place of an earlier one.', 'cps', [
          query(rates('instance', 'edge_store_reconnects_total', EDGES), '{{instance}}'),
          query(rates('', 'relay_store_reconnects_total', RELAYS), 'relay'),
        ]),
        lines(
          'Operations that failed',
          'Of edges and the relay, by operation. What fails is asked again with the next beat, or written again.',
          'cps',
          [
            query(rates('operation', 'edge_store_operations_total', `${CLUSTER},result="failed"`), 'edges, {{operation}}'),
            query(rates('operation', 'relay_store_operations_total', `${RELAYS},result="failed"`), 'relay, {{operation}}'),
          ],
        ),
      ],
    ],
    [
      'Is it slow?',
      [
        lines(
          'Operations of edges, 99th percentile',
          'write_routes, index: routes. holders: the look-up before somebody is called offline. A call may take 250 ms.',
          's',
          [query(quantile(0.99, 'operation', 'edge_store_operation_seconds', EDGES), '{{operation}}')],
          { isLogarithmic: true, steps: [[0.1, 'red']] },
        ),
        lines(
          'Operations of the relay, 99th percentile',
          'beat: once a second it renews and reads all leases. remove_routes, end_lease: after the end of an edge.',
          's',
          [query(quantile(0.99, 'operation', 'relay_store_operation_seconds', RELAYS), '{{operation}}')],
          { isLogarithmic: true, steps: [[0.1, 'red']] },
        ),
        lines(
          'Operations of edges, median',
          'Half of the calls are faster.',
          's',
          [query(quantile(0.5, 'operation', 'edge_store_operation_seconds', EDGES), '{{operation}}')],
          {
            isLogarithmic: true,
          },
        ),
        lines('Operations', 'How many calls, by operation.', 'cps', [
          query(rates('operation', 'edge_store_operations_total', EDGES), 'edges, {{operation}}'),
          query(rates('operation', 'relay_store_operations_total', RELAYS), 'relay, {{operation}}'),
        ]),
        lines('Round trips', 'Times that something was sent and its answer waited for, by connection.', 'cps', [
          query(rates('connection', 'edge_store_round_trips_total', EDGES), 'edges, {{connection}}'),
          query(rates('connection', 'relay_store_round_trips_total', RELAYS), 'relay, {{connection}}'),
        ]),
        lines('Commands in a round trip', 'More of them at once cost Redis and us less.', 'short', [
          query(
            share(
              rates('connection', 'edge_store_commands_total', EDGES),
              rates('connection', 'edge_store_round_trips_total', EDGES),
            ),
            'edges, {{connection}}',
          ),
          query(
            share(
              rates('connection', 'relay_store_commands_total', RELAYS),
              rates('connection', 'relay_store_round_trips_total', RELAYS),
            ),
            'relay, {{connection}}',
          ),
        ]),
      ],
    ],
    [
      'Are the routes written?',
      [
        lines(
          'Routes that wait to be written',
          '0 when nothing moves. While Redis is away, they wait here as state, and cost nothing.',
          'short',
          [query(`edge_routes_pending{${EDGES}}`, '{{instance}}')],
        ),
        lines(
          'Routes against channels',
          'Routes that the store has, of the channels that are held. Below 1, somebody who is here could be called offline without the relay.',
          'percentunit',
          [query(share(`edge_routes{${EDGES}}`, `edge_channels{${EDGES}}`), '{{instance}}')],
        ),
        lines('Routes', 'Routes of each edge that the store has.', 'short', [query(`edge_routes{${EDGES}}`, '{{instance}}')]),
        lines(
          'Writes of routes',
          'ok; failed: written again later; fenced: the store knows no such lease, and the edge gets a new epoch.',
          'cps',
          [query(rates('result', 'edge_route_writes_total', EDGES), '{{result}}')],
        ),
        lines(
          'Strays',
          'Entries of the index of an edge that it does not want, or had left just before. Each is removed.',
          'cps',
          [query(rates('instance', 'edge_index_strays_total', EDGES), '{{instance}}')],
        ),
        states(
          'Leased',
          '1 while the store has the lease of this edge: routes are written only then.',
          [query(`edge_leased{${EDGES}}`, '{{instance}}')],
          { width: 8, height: 8 },
        ),
      ],
    ],
    [
      'Do the memories agree?',
      [
        lines(
          'Look-ups before somebody is called offline',
          'nobody: offline. somebody: another edge holds the channel. away: the store is known to be. unanswered: not known.',
          'cps',
          [query(rates('answer', 'edge_lookups_total', EDGES), '{{answer}}')],
          { isStacked: true },
        ),
        lines(
          'Memories differ',
          'Look-ups in which the store named a holder that the relay does not. Some, for seconds, after an edge died; never for long.',
          'cps',
          [query(rates('instance', 'edge_memories_differ_total', EDGES), '{{instance}}')],
        ),
        lines(
          'Ghosts',
          'Routes of edges with neither lease nor index, which a sweep found and removed. 0 for ever, unless the store was emptied while routes were written.',
          'short',
          [query(`increase(relay_ghost_routes_total{${RELAYS}}[1h])`, '{{instance}}')],
        ),
      ],
    ],
    [
      'Are the leases kept?',
      [
        lines('Leases against edges', 'Alike when all is well.', 'short', [
          query(`relay_leases{${RELAYS}}`, 'leases'),
          query(`relay_edges{${RELAYS}}`, 'linked edges'),
          query(`sum(edge_leased{${CLUSTER}})`, 'edges that know of their lease'),
        ]),
        lines(
          'Epochs',
          'New epochs that edges took: one at the start, more where the lease was lost. In the last 5 minutes.',
          'short',
          [
            query(`increase(edge_epochs_total{${EDGES}}[5m])`, 'taken {{instance}}'),
            query(`sum(increase(relay_epochs_renewed_total{${RELAYS}}[5m]))`, 'given anew by the relay'),
          ],
        ),
        lines('Removed after the end of a lease', 'Routes that the relay removed, and leases that it ended.', 'cps', [
          query(rates('', 'relay_routes_removed_total', RELAYS), 'routes'),
          query(rates('', 'relay_edges_reaped_total', RELAYS), 'leases'),
        ]),
        figure(
          'Sweeps',
          'Searches of the whole store for ghosts since the start of the relay.',
          'short',
          [query(`sum(relay_sweeps_total{${RELAYS}})`, 'sweeps')],
          { decimals: 0, width: 4 },
        ),
      ],
    ],
  ],
);
