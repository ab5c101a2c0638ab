// Clients and transports: who comes in by which door, what becomes of their messages, and who is let go or turned away.

import { bars, lines, page } from './panels.mjs';
import { EDGES, quantile, query, rates, share } from './queries.mjs';

export default page(
  'clients',
  'Who comes in by which door, what becomes of their messages, how long it takes, and who is let go or turned away.',
  [
    [
      'Who is here?',
      [
        lines(
          'Connections, by door',
          'Let in and not yet closed, logged in or not.',
          'short',
          [query(`sum by (door) (edge_connections{${EDGES}})`, '{{door}}')],
          { isStacked: true },
        ),
        lines('Clients, by edge', 'Clients logged in.', 'short', [query(`edge_clients{${EDGES}}`, '{{instance}}')], {
          isStacked: true,
          leadsTo: 'edge',
        }),
        bars(
          'Places left',
          'How many more clients each edge lets in.',
          'short',
          [query(`edge_clients_max{${EDGES}} - edge_clients{${EDGES}}`, '{{instance}}')],
          {
            below: 'red',
            steps: [
              [1, 'yellow'],
              [50, 'green'],
            ],
          },
        ),
      ],
    ],
    [
      'Who comes?',
      [
        lines('Connections that come, by door', 'Connections that a door accepted, whatever became of them.', 'cps', [
          query(rates('door', 'edge_accepts_total', EDGES), '{{door}}'),
        ]),
        lines(
          'Handshakes',
          'From the first packet of a connection until it is let in: TLS or QUIC, and HTTP.',
          's',
          [
            query(quantile(0.5, 'door', 'edge_handshake_seconds', EDGES), 'p50 {{door}}'),
            query(quantile(0.99, 'door', 'edge_handshake_seconds', EDGES), 'p99 {{door}}'),
          ],
          { isLogarithmic: true },
        ),
        lines(
          'Turned away, by reason',
          'full: 503 with Retry-After. origin: 403. handshake: neither WebSocket nor WebTransport, or not in time.',
          'cps',
          [query(rates('reason', 'edge_refusals_total', EDGES), '{{reason}}')],
        ),
        lines('Turned away, by door', 'The same, by door.', 'cps', [
          query(rates('door', 'edge_refusals_total', EDGES), '{{door}}'),
        ]),
        lines(
          'Newcomers that had to make room',
          'Connections ended before they had logged in, because others needed the place. It moves while strangers hold what is for everybody.',
          'cps',
          [query(rates('door', 'edge_newcomers_ended_total', EDGES), '{{door}}')],
        ),
        lines('Share of connections turned away', 'Of those that came.', 'percentunit', [
          query(share(rates('', 'edge_refusals_total', EDGES), rates('', 'edge_accepts_total', EDGES)), 'turned away'),
        ]),
      ],
    ],
    [
      'Who goes?',
      [
        lines(
          'Clients that end, by code',
          '3000 went by itself, 3001 shutdown, 3005 token expired, 3008 reads too slowly, 3012 no pong, 3013 made room before it had logged in, 35xx broke the protocol, 1002, 1007, 1009 broke WebSocket.',
          'cps',
          [query(rates('code', 'edge_disconnects_total', EDGES), '{{code}}')],
          { isStacked: true },
        ),
        lines('Slow consumers', 'Clients let go because they did not read 256 KiB, or for 5 s (3008).', 'cps', [
          query(rates('instance', 'edge_disconnects_total', `${EDGES},code="3008"`), '{{instance}}'),
        ]),
        lines('Clients that do not answer', 'Clients let go because a pong was missing (3012).', 'cps', [
          query(rates('instance', 'edge_disconnects_total', `${EDGES},code="3012"`), '{{instance}}'),
        ]),
      ],
    ],
    [
      'What becomes of their messages?',
      [
        lines(
          'Messages, by outcome',
          'accepted: publications. The others: directed messages. rejected is the mistake of the sender.',
          'cps',
          [query(rates('outcome', 'edge_messages_total', EDGES), '{{outcome}}')],
          { isStacked: true },
        ),
        lines(
          'Receipts, by verdict',
          'What senders of directed messages were told.',
          'cps',
          [query(rates('verdict', 'edge_receipts_total', EDGES), '{{verdict}}')],
          { isStacked: true },
        ),
        lines(
          'Share not known, by edge',
          'Of the directed messages of each edge; those of the clients there were hurt.',
          'percentunit',
          [
            query(
              share(
                rates('instance', 'edge_receipts_total', `${EDGES},verdict="unknown"`),
                rates('instance', 'edge_receipts_total', EDGES),
              ),
              '{{instance}}',
            ),
          ],
          { max: 1, steps: [[0.05, 'red']] },
        ),
        lines(
          'Receipts of messages that cross the relay',
          'From accepted to the verdict.',
          's',
          [
            query(quantile(0.5, 'verdict', 'edge_receipt_seconds', EDGES), 'p50 {{verdict}}'),
            query(quantile(0.99, 'verdict', 'edge_receipt_seconds', EDGES), 'p99 {{verdict}}'),
          ],
          { isLogarithmic: true },
        ),
        lines('Pushes for each message', 'How many clients get what one client sent, on average.', 'short', [
          query(share(rates('', 'edge_pushes_total', EDGES), rates('', 'edge_messages_received_total', EDGES)), 'pushes'),
        ]),
        lines('Error replies', 'Commands that were answered with an error, by edge.', 'cps', [
          query(rates('instance', 'edge_error_replies_total', EDGES), '{{instance}}'),
        ]),
      ],
    ],
    [
      'What goes through the doors?',
      [
        lines('Bytes received, by door', 'From clients, without what TLS, TCP and QUIC add.', 'Bps', [
          query(rates('door', 'edge_bytes_received_total', EDGES), '{{door}}'),
        ]),
        lines('Bytes sent, by door', 'To clients.', 'Bps', [query(rates('door', 'edge_bytes_sent_total', EDGES), '{{door}}')]),
        lines('Bytes to each client', 'Sent in a second, by connections that are open.', 'Bps', [
          query(share(rates('', 'edge_bytes_sent_total', EDGES), `sum(edge_connections{${EDGES}})`), 'sent'),
        ]),
        lines('Frames received, by door', 'What clients sent in one piece.', 'cps', [
          query(rates('door', 'edge_frames_received_total', EDGES), '{{door}}'),
        ]),
        lines(
          'Frames sent, by door',
          'What clients got in one piece; several replies and pushes share one where they are ready together.',
          'cps',
          [query(rates('door', 'edge_frames_sent_total', EDGES), '{{door}}')],
        ),
        lines('Bytes in a frame', 'Sent, on average. Larger where more waits for each client.', 'bytes', [
          query(share(rates('door', 'edge_bytes_sent_total', EDGES), rates('door', 'edge_frames_sent_total', EDGES)), '{{door}}'),
        ]),
      ],
    ],
  ],
);
