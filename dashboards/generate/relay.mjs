// The relay and the links: who is linked, how the links do, what is lost on the way.

import { figure, lines, page, sheet, states } from './panels.mjs';
import { CLUSTER, EDGES, RELAYS, quantile, query, rate, rates, share } from './queries.mjs';

export default page(
  'relay',
  'Who is linked to the relay, how the links do, how the relay copes, and what gets lost on the way.',
  [
    [
      'Is it well?',
      [
        figure('Edges linked', 'Edges linked to the relay now.', 'short', [query(`sum(relay_edges{${RELAYS}})`, 'edges')], {
          decimals: 0,
        }),
        figure(
          'Edges lost',
          'Edges whose link ended without a goodbye, and that may still come back. After 3.3 s their lease ends.',
          'short',
          [query(`sum(relay_edges_lost{${RELAYS}})`, 'lost')],
          { decimals: 0, steps: [[1, 'red']] },
        ),
        figure(
          'Leases',
          'Leases in the store, as the relay knows. More than there are linked edges while one is away.',
          'short',
          [query(`max(relay_leases{${RELAYS}})`, 'leases')],
          { decimals: 0, leadsTo: 'redis' },
        ),
        figure(
          'Heartbeat, 99th percentile',
          'From an edge to the relay and back on the stream of signs of life, all edges.',
          's',
          [query(quantile(0.99, '', 'edge_link_rtt_seconds', CLUSTER), 'p99')],
          {
            steps: [
              [0.25, 'yellow'],
              [1, 'red'],
            ],
          },
        ),
        states(
          'Complete, and ready',
          'complete: the relay knows every edge that there may be; until then nobody is called offline.',
          [query(`relay_complete{${RELAYS}}`, 'complete {{instance}}'), query(`relay_ready{${RELAYS}}`, 'ready {{instance}}')],
          { width: 8, height: 5 },
        ),
      ],
    ],
    [
      'Who is linked?',
      [
        lines('Edges, leases, lost edges', 'All three are alike when all is well, and lost is 0.', 'short', [
          query(`relay_edges{${RELAYS}}`, 'linked'),
          query(`relay_leases{${RELAYS}}`, 'leases'),
          query(`relay_edges_lost{${RELAYS}}`, 'lost'),
        ]),
        states(
          'Links, as edges see them',
          '1 while the relay has greeted the edge on a living link.',
          [query(`edge_link_up{${EDGES}}`, '{{instance}}')],
          { width: 8, height: 8 },
        ),
        lines(
          'Links that began and ended',
          'greeted: links whose hello was accepted. ended: by the relay, for silence, a bad frame, or a newer link.',
          'cps',
          [
            query(rates('', 'relay_links_admitted_total', RELAYS), 'greeted'),
            query(rates('', 'relay_links_closed_total', RELAYS), 'ended'),
            query(rates('instance', 'edge_links_total', EDGES), 'greeted {{instance}}'),
          ],
        ),
        lines(
          'Edges reaped, epochs renewed',
          'reaped: leases that were ended, after a goodbye, a loss, or a later life. renewed: linked edges that got a new epoch, since the store had lost their lease. In the last 5 minutes.',
          'short',
          [
            query(`sum(increase(relay_edges_reaped_total{${RELAYS}}[5m]))`, 'reaped'),
            query(`sum(increase(relay_epochs_renewed_total{${RELAYS}}[5m]))`, 'renewed'),
          ],
          { leadsTo: 'redis' },
        ),
        lines(
          'Strangers at the door',
          'Connections that did not become a link: failed handshakes, those asked for a proof of their address, and those that had to make room.',
          'cps',
          [
            query(rates('', 'relay_handshakes_failed_total', RELAYS), 'failed'),
            query(rates('', 'relay_retries_total', RELAYS), 'asked to prove their address'),
            query(rates('', 'relay_newcomers_ended_total', RELAYS), 'made room'),
          ],
        ),
        lines('Heartbeats', 'Pings of edges that the relay echoed: one a second from each.', 'cps', [
          query(rates('', 'relay_heartbeats_total', RELAYS), 'echoed'),
        ]),
      ],
    ],
    [
      'How do the links do?',
      [
        lines('Round trip, as QUIC sees it', 'Smoothed round trip of each link, and the longest that the relay sees.', 's', [
          query(`edge_link_smoothed_rtt_seconds{${EDGES}}`, '{{instance}}'),
          query(`max(relay_link_rtt_max_seconds{${RELAYS}})`, 'longest, by the relay'),
        ]),
        lines(
          'Canaries, 99th percentile',
          'A publication of the edge to itself, once a second, over a lane and the relay and back.',
          's',
          [query(quantile(0.99, 'instance', 'edge_canary_seconds', EDGES), '{{instance}}')],
        ),
        lines(
          'Canaries that did not come back',
          'One a second is sent. Lost: not back within 5 s, or when the link ended.',
          'cps',
          [
            query(rates('instance', 'edge_canaries_total', `${EDGES},result="lost"`), 'lost {{instance}}'),
            query(rates('', 'relay_canaries_total', RELAYS), 'seen by the relay'),
          ],
        ),
        lines(
          'Packets lost',
          'Share of the packets that each side had to give up, of those that it sent.',
          'percentunit',
          [
            query(
              share(rate('edge_link_packets_lost_total', EDGES), rate('edge_link_packets_sent_total', EDGES)),
              '{{instance}}',
            ),
            query(
              share(rates('', 'relay_link_packets_lost_total', RELAYS), rates('', 'relay_link_packets_sent_total', RELAYS)),
              'relay',
            ),
          ],
          { steps: [[0.02, 'red']] },
        ),
        lines('Congestion', 'Times that a link took the network for congested and slowed down.', 'cps', [
          query(rate('edge_link_congestion_events_total', EDGES), '{{instance}}'),
          query(rates('', 'relay_link_congestion_events_total', RELAYS), 'relay'),
        ]),
        lines('Congestion window', 'How much an edge may have under way to the relay.', 'bytes', [
          query(`edge_link_congestion_window_bytes{${EDGES}}`, '{{instance}}'),
        ]),
        lines('Bytes on the links', 'What edges and relay sent and received, headers of QUIC included.', 'Bps', [
          query(rates('', 'edge_link_bytes_sent_total', EDGES), 'edges, sent'),
          query(rates('', 'edge_link_bytes_received_total', EDGES), 'edges, received'),
          query(rates('', 'relay_link_bytes_sent_total', RELAYS), 'relay, sent'),
          query(rates('', 'relay_link_bytes_received_total', RELAYS), 'relay, received'),
        ]),
        lines('Packets', 'Packets of QUIC that were sent.', 'pps', [
          query(rate('edge_link_packets_sent_total', EDGES), '{{instance}}'),
          query(rates('', 'relay_link_packets_sent_total', RELAYS), 'relay'),
        ]),
        sheet(
          'Paths',
          'The largest datagram that fits, and how much one call may send.',
          'instance',
          [
            { query: query(`sum by (instance) (edge_link_mtu_bytes{${EDGES}})`, 'datagram'), unit: 'bytes' },
            {
              query: query(`sum by (instance) (edge_udp_gso_segments{${EDGES},socket="link"})`, 'datagrams a call'),
              unit: 'short',
            },
            {
              query: query(`sum by (instance) (edge_udp_receive_buffer_bytes{${EDGES},socket="link"})`, 'receive buffer'),
              unit: 'bytes',
            },
          ],
          { width: 8 },
        ),
      ],
    ],
    [
      'How full are the queues?',
      [
        lines(
          'The fullest lane',
          'Against what fits into a lane (1 MiB). A full lane refuses: senders get error 100.',
          'percentunit',
          [
            query(`edge_link_fullest_lane_bytes{${EDGES}} / edge_link_lane_bytes_max{${EDGES}}`, '{{instance}}'),
            query(`relay_link_fullest_lane_bytes{${RELAYS}} / relay_link_lane_bytes_max{${RELAYS}}`, 'relay'),
          ],
          { max: 1, steps: [[0.5, 'red']] },
        ),
        lines('What waits to be sent', 'Bytes in the queues of the links: state (control) and publications (lanes).', 'bytes', [
          query(`sum by (instance, stream) (edge_link_queue_bytes{${EDGES}})`, '{{stream}} {{instance}}'),
          query(`sum by (stream) (relay_link_queue_bytes{${RELAYS}})`, 'relay, {{stream}}'),
        ]),
        lines(
          'Inputs that wait for the event loop of the relay',
          'At most 1,024: then lanes are not read, and QUIC holds the edges back.',
          'short',
          [query(`relay_loop_inputs_waiting{${RELAYS}}`, '{{instance}}')],
        ),
      ],
    ],
    [
      'What does the relay do?',
      [
        lines(
          'Publications and copies',
          'publications: from edges. copies: to holders. unheld: of a channel that no other edge held.',
          'cps',
          [
            query(rates('', 'relay_publications_total', RELAYS), 'publications'),
            query(rates('', 'relay_copies_forwarded_total', RELAYS), 'copies'),
            query(rates('', 'relay_publications_unheld_total', RELAYS), 'unheld'),
          ],
        ),
        lines('Copies for each publication', 'How many edges a publication goes to, on average.', 'short', [
          query(
            share(rates('', 'relay_copies_forwarded_total', RELAYS), rates('', 'relay_publications_total', RELAYS)),
            'copies',
          ),
        ]),
        lines('Answers', 'Answers of holders that were passed to the senders of directed messages.', 'cps', [
          query(rates('', 'relay_answers_total', RELAYS), 'passed on'),
        ]),
        lines(
          'Channels',
          'Channels that at least one linked edge holds.',
          'short',
          [query(`relay_channels{${RELAYS}}`, '{{instance}}')],
          { leadsTo: 'redis' },
        ),
        lines(
          'Joins and leaves',
          'Channels that edges began to hold, re-joins after a new link included; and ceased to.',
          'cps',
          [query(rates('', 'relay_joins_total', RELAYS), 'joins'), query(rates('', 'relay_leaves_total', RELAYS), 'leaves')],
        ),
        lines(
          'What was lost',
          'refused: copies that a full lane did not take. missing: between two numbers of one source and lane, should stay 0. answers: whose source had gone.',
          'cps',
          [
            query(rates('', 'relay_copies_refused_total', RELAYS), 'refused'),
            query(rates('', 'relay_publications_missing_total', RELAYS), 'missing'),
            query(rates('', 'relay_answers_lost_total', RELAYS), 'answers'),
          ],
        ),
      ],
    ],
    [
      'How busy is the relay?',
      [
        lines(
          'Through the relay',
          'From the read of a lane until its frames are queued for the edges that hold their channels; of every 64th batch.',
          's',
          [
            query(quantile(0.5, '', 'relay_stage_seconds', RELAYS), 'p50'),
            query(quantile(0.99, '', 'relay_stage_seconds', RELAYS), 'p99'),
          ],
          { isLogarithmic: true },
        ),
        lines(
          'How busy the thread is',
          'Share of the time in which the thread of the relay was at work, and the part of it spent in the event loop.',
          'percentunit',
          [
            query(rate('relay_runtime_busy_seconds_total', RELAYS), 'thread {{instance}}'),
            query(rate('relay_loop_busy_seconds_total', RELAYS), 'event loop {{instance}}'),
          ],
          { max: 1, steps: [[0.9, 'red']] },
        ),
        lines(
          'Since the event loop of the relay last turned',
          'It turns at least twice a second. Above 2 s /health is 503, and all other metrics of the relay are old.',
          's',
          [query(`relay_loop_age_seconds{${RELAYS}}`, '{{instance}}')],
          { steps: [[2, 'red']] },
        ),
        lines('Inputs a turn', 'How many inputs the event loop takes at once, on average; at most 256.', 'short', [
          query(share(rate('relay_loop_inputs_total', RELAYS), rate('relay_loop_turns_total', RELAYS)), '{{instance}}'),
        ]),
        lines('Cores', 'Processor time of the process of the relay, all of its threads.', 'percentunit', [
          query(rate('process_cpu_seconds_total', RELAYS), '{{instance}}'),
        ]),
        lines('Memory', 'Resident memory of the process of the relay.', 'bytes', [
          query(`process_resident_memory_bytes{${RELAYS}}`, '{{instance}}'),
        ]),
        lines('Tasks', 'Tasks on the thread that moves messages; they grow with the links.', 'short', [
          query(`relay_runtime_tasks{${RELAYS}}`, '{{instance}}'),
        ]),
        lines(
          'Freezes and restarts',
          'Freezes: the process stood still for over 1.5 s. Restarts: its start time changed. In the last hour.',
          'short',
          [
            query(`increase(relay_freezes_total{${RELAYS}}[1h])`, 'freezes {{instance}}'),
            query(`changes(relay_start_time_seconds{${RELAYS}}[1h])`, 'restarts {{instance}}'),
          ],
        ),
        lines(
          'UDP datagrams dropped',
          'Datagrams that the kernel threw away because the receive buffer of the socket of the relay was full.',
          'pps',
          [query(rates('instance', 'relay_udp_drops_total', RELAYS), '{{instance}}')],
        ),
        sheet(
          'The machine',
          'Socket buffers, datagrams a call, open files, and what is left of the life of the certificate.',
          'instance',
          [
            { query: query(`sum by (instance) (relay_udp_receive_buffer_bytes{${RELAYS}})`, 'receive buffer'), unit: 'bytes' },
            { query: query(`sum by (instance) (relay_udp_send_buffer_bytes{${RELAYS}})`, 'send buffer'), unit: 'bytes' },
            { query: query(`sum by (instance) (relay_udp_gso_segments{${RELAYS}})`, 'datagrams a call'), unit: 'short' },
            {
              query: query(`sum by (instance) (process_open_fds{${RELAYS}} / process_max_fds{${RELAYS}})`, 'open files'),
              unit: 'percentunit',
            },
            {
              query: query(
                `min by (instance) ((relay_certificate_not_after_time_seconds{${RELAYS}} - time()) / (relay_certificate_not_after_time_seconds{${RELAYS}} - relay_certificate_not_before_time_seconds{${RELAYS}}))`,
                'left of the certificate',
              ),
              unit: 'percentunit',
            },
            {
              query: query(`sum by (instance) (relay_certificate_changes_total{${RELAYS}})`, 'certificates replaced'),
              unit: 'short',
            },
            {
              query: query(`count by (instance, version) (relay_build_info{${RELAYS}})`, 'relays of this version'),
              unit: 'short',
            },
          ],
          { width: 8 },
        ),
      ],
    ],
  ],
);
