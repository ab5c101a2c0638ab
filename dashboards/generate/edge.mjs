// Edges: what each of them carries, how busy it is, and what of the machine it uses.

import { bars, figure, lines, page, sheet, states } from './panels.mjs';
import { CLUSTER, EDGES, quantile, query, rate, rates, share } from './queries.mjs';

const PROCESS = `${EDGES},job="causeway-edge"`;

export default page('edge', 'What each edge carries, how busy it is, where time goes in it, and what it takes of its machine.', [
  [
    'Is it well?',
    [
      states('Ready', 'What /ready says: 1 while clients should be sent here.', [query(`edge_ready{${EDGES}}`, '{{instance}}')], {
        width: 8,
      }),
      states(
        'Linked',
        '1 while the relay has greeted this edge on a living link.',
        [query(`edge_link_up{${EDGES}}`, '{{instance}}')],
        { width: 8, leadsTo: 'relay' },
      ),
      states('Leased', '1 while the store has the lease of this edge.', [query(`edge_leased{${EDGES}}`, '{{instance}}')], {
        width: 8,
        leadsTo: 'redis',
      }),
    ],
  ],
  [
    'How full is it?',
    [
      bars(
        'Clients against the limit',
        'Clients logged in, as a share of --max-clients. At 1 the next connection gets 503 with Retry-After.',
        'percentunit',
        [query(`edge_clients{${EDGES}} / edge_clients_max{${EDGES}}`, '{{instance}}')],
        {
          min: 0,
          max: 1,
          steps: [
            [0.85, 'yellow'],
            [1, 'red'],
          ],
        },
      ),
      lines('Clients', 'Clients logged in now.', 'short', [query(`edge_clients{${EDGES}}`, '{{instance}}')], {
        leadsTo: 'clients',
      }),
      lines(
        'Places',
        'Connections that were let in and not yet closed, logged in or not, beside the limit. What is above the clients has not logged in, or is closing.',
        'short',
        [
          query(`sum by (instance) (edge_connections{${EDGES}})`, 'connections {{instance}}'),
          query(`edge_clients_max{${EDGES}}`, 'at most {{instance}}'),
        ],
      ),
      lines('Channels held', 'Channels with a subscriber here.', 'short', [query(`edge_channels{${EDGES}}`, '{{instance}}')], {
        leadsTo: 'redis',
      }),
      lines(
        'Receipts that wait',
        'Directed messages without a verdict yet; at most 32,768, and 1,024 of one client. More are refused with error 100.',
        'short',
        [query(`edge_receipts_pending{${EDGES}}`, '{{instance}}')],
      ),
      lines(
        'Open files against the limit',
        'Descriptors of the process. Without any left no client can be accepted.',
        'percentunit',
        [query(`process_open_fds{${PROCESS}} / process_max_fds{${PROCESS}}`, '{{instance}}')],
        { max: 1, steps: [[0.8, 'red']] },
      ),
    ],
  ],
  [
    'What does it do?',
    [
      lines('Messages from clients', 'Publications and directed messages that clients sent.', 'cps', [
        query(rate('edge_messages_received_total', EDGES), '{{instance}}'),
      ]),
      lines('Pushes to clients', 'Publications that were put into outboxes of clients.', 'cps', [
        query(rate('edge_pushes_total', EDGES), '{{instance}}'),
      ]),
      lines(
        'Publications over the link',
        'in: from other edges. out: to the relay.',
        'cps',
        [
          query(rate('edge_link_publications_in_total', EDGES), 'in {{instance}}'),
          query(rate('edge_link_publications_out_total', EDGES), 'out {{instance}}'),
        ],
        { leadsTo: 'relay' },
      ),
      lines(
        'Answers of other edges',
        'What became of directed messages of this edge elsewhere: took, not_here (no client there receives it), unknown (it could not be passed on).',
        'cps',
        [query(rates('instance, answer', 'edge_answers_total', EDGES), '{{answer}} {{instance}}')],
      ),
      lines('Joins and leaves', 'Channels that this edge began or ceased to hold.', 'cps', [
        query(rate('edge_joins_total', EDGES), 'joins {{instance}}'),
        query(rate('edge_leaves_total', EDGES), 'leaves {{instance}}'),
      ]),
      lines(
        'Parked',
        'Publications held back behind a reply that had not gone out. They move while people log in and subscribe.',
        'cps',
        [query(rate('edge_parked_total', EDGES), '{{instance}}')],
      ),
    ],
  ],
  [
    'What is slow?',
    [
      lines(
        'Through the edge, 99th percentile',
        'in: from the read of a client until what it says is queued for the link or for clients here. out: from the read of a lane until it is queued for clients. Of every 64th frame.',
        's',
        [query(quantile(0.99, 'instance, stage', 'edge_stage_seconds', EDGES), '{{stage}} {{instance}}')],
        { isLogarithmic: true },
      ),
      lines(
        'How busy the thread is',
        'Share of the time in which the thread that moves messages was not waiting, and the part of it spent in the event loop.',
        'percentunit',
        [
          query(rate('edge_runtime_busy_seconds_total', EDGES), 'thread {{instance}}'),
          query(rate('edge_loop_busy_seconds_total', EDGES), 'event loop {{instance}}'),
        ],
        { max: 1, steps: [[0.9, 'red']] },
      ),
      lines(
        'Inputs that wait for the event loop',
        'At most 1,024: then readers wait, and TCP or QUIC hold the senders back.',
        'short',
        [query(`edge_loop_inputs_waiting{${EDGES}}`, '{{instance}}')],
      ),
      lines(
        'Since the event loop last turned',
        'It turns at least twice a second. Above 2 s /health is 503, and all other metrics of the edge are old.',
        's',
        [query(`edge_loop_age_seconds{${EDGES}}`, '{{instance}}')],
        { steps: [[2, 'red']] },
      ),
      lines('Turns of the event loop', 'Rounds a second. With many inputs a turn it is busy; with one it is idle.', 'cps', [
        query(rate('edge_loop_turns_total', EDGES), '{{instance}}'),
      ]),
      lines('Inputs a turn', 'How many inputs the event loop takes at once, on average; at most 256.', 'short', [
        query(share(rate('edge_loop_inputs_total', EDGES), rate('edge_loop_turns_total', EDGES)), '{{instance}}'),
      ]),
      lines(
        'Tasks',
        'Tasks on the thread that moves messages: two or three for each client, and a few of the edge itself.',
        'short',
        [query(`edge_runtime_tasks{${EDGES}}`, '{{instance}}')],
      ),
    ],
  ],
  [
    'What does it take of the machine?',
    [
      lines('Cores', 'Processor time of the process, all of its threads.', 'percentunit', [
        query(rate('process_cpu_seconds_total', PROCESS), '{{instance}}'),
      ]),
      lines('Memory', 'Resident memory of the process.', 'bytes', [
        query(`process_resident_memory_bytes{${PROCESS}}`, '{{instance}}'),
      ]),
      lines('Address space', 'Virtual memory of the process. It only says something where a limit is set on it.', 'bytes', [
        query(`process_virtual_memory_bytes{${PROCESS}}`, '{{instance}}'),
      ]),
      lines(
        'Threads',
        'Threads of the process: the one that moves messages, the admin listener, the store, and some that wait for disks.',
        'short',
        [query(`process_threads{${PROCESS}}`, '{{instance}}')],
      ),
      lines(
        'UDP datagrams dropped',
        'Datagrams that the kernel threw away because the receive buffer of the socket was full.',
        'pps',
        [query(rates('instance, socket', 'edge_udp_drops_total', EDGES), '{{socket}} {{instance}}')],
      ),
      sheet(
        'UDP sockets',
        'Buffers that the kernel gave, and how many datagrams one call may send (1: the machine cannot).',
        'instance',
        [
          { query: query(`min by (instance) (edge_udp_receive_buffer_bytes{${EDGES}})`, 'receive buffer'), unit: 'bytes' },
          { query: query(`min by (instance) (edge_udp_send_buffer_bytes{${EDGES}})`, 'send buffer'), unit: 'bytes' },
          { query: query(`min by (instance) (edge_udp_gso_segments{${EDGES}})`, 'datagrams a call'), unit: 'short' },
        ],
        { width: 8 },
      ),
    ],
  ],
  [
    'What happened to it?',
    [
      lines(
        'Freezes and restarts',
        'Freezes: the process stood still for over 1.5 s. Restarts: its start time changed. In the last hour.',
        'short',
        [
          query(`increase(edge_freezes_total{${EDGES}}[1h])`, 'freezes {{instance}}'),
          query(`changes(edge_start_time_seconds{${EDGES}}[1h])`, 'restarts {{instance}}'),
        ],
      ),
      lines('Error replies', 'Commands of clients that were answered with an error.', 'cps', [
        query(rate('edge_error_replies_total', EDGES), '{{instance}}'),
      ]),
      lines('Runs for', 'Time since the start of the edge, and of its process.', 's', [
        query(`time() - edge_start_time_seconds{${EDGES}}`, '{{instance}}'),
        query(`time() - process_start_time_seconds{${PROCESS}}`, 'process {{instance}}'),
      ]),
      sheet(
        'Certificates',
        'The share of its life that is left to each certificate in use, until when, and how often it was replaced.',
        'certificate',
        [
          {
            query: query(
              `min by (certificate) ((edge_certificate_not_after_time_seconds{${EDGES}} - time()) / (edge_certificate_not_after_time_seconds{${EDGES}} - edge_certificate_not_before_time_seconds{${EDGES}}))`,
              'left of its life',
            ),
            unit: 'percentunit',
          },
          {
            query: query(`min by (certificate) (edge_certificate_not_after_time_seconds{${EDGES}} * 1000)`, 'until'),
            unit: 'dateTimeAsIso',
          },
          { query: query(`sum by (certificate) (edge_certificate_changes_total{${EDGES}})`, 'replaced'), unit: 'short' },
          { query: query(`max by (certificate) (edge_certificate_refused{${EDGES}})`, 'refused'), unit: 'bool_yes_no' },
        ],
        { width: 12 },
      ),
      sheet(
        'Versions',
        'How many edges run which version. More than one for long means an upgrade that stopped half-way.',
        'version',
        [{ query: query(`count by (version) (edge_build_info{${CLUSTER}})`, 'edges'), unit: 'short' }],
        { width: 6 },
      ),
      figure('Edges', 'Edges that answer.', 'short', [query(`sum(up{${CLUSTER},job="causeway-edge"})`, 'edges')], {
        width: 6,
        height: 8,
        decimals: 0,
      }),
    ],
  ],
]);
