//! Traffic by script: what the servers would say, and what comes of it.

use super::super::flow::Wire;
use super::*;

/// Pairs of clients 0→1, 2→3, … and a clock that only we move.
struct Run {
    traffic: Traffic,
    outboxes: Outboxes,
    start: Instant,
    payload: Payload,
}

const RUN: u32 = 7;
const WARM_UP: Duration = Duration::from_millis(100);
const DURATION: Duration = Duration::from_millis(1000);

impl Run {
    fn new(pairs: usize, pace: impl FnOnce(Instant) -> Pace, has_receipts: bool) -> Self {
        let start = Instant::now();
        let flow = |at| {
            let wire = if has_receipts { Wire::send("u") } else { Wire::publish("#u") };
            Flow::new(start, ClientIndex(2 * at), 2 * at + 1..2 * at + 2, wire)
        };
        let drive = Drive {
            pace: pace(start),
            phases: Phases::new(start, WARM_UP, DURATION),
            payload: Payload::new(RUN, 100),
            is_answered: true,
            has_receipts,
        };
        let traffic = Traffic::new((0..pairs).map(flow).collect(), 2 * pairs, drive);
        let outboxes = Outboxes::new(2 * pairs).expect("chance");
        Self { traffic, outboxes, start, payload: Payload::new(RUN, 100) }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn timeout(&mut self, millis: u64) {
        self.traffic.handle_timeout(self.at(millis), &mut self.outboxes);
        self.traffic.flushed(self.at(millis));
    }

    fn hear(&mut self, client: usize, millis: u64, line: &str) {
        let now = self.at(millis);
        self.traffic.heard(ClientIndex(client), now, line.as_bytes(), &mut self.outboxes);
    }

    /// The message `number` of `flow`, meant for `intended` ms, comes to its receiver at `millis`.
    fn deliver(&mut self, flow: usize, number: u64, intended: u64, millis: u64) {
        let message = Message { flow, number, intended_nanos: intended * 1_000_000 };
        let payload = String::from_utf8(self.payload.write(message).to_vec()).expect("ASCII");
        self.hear(
            2 * flow + 1,
            millis,
            &format!(r##"{{"push":{{"channel":"#u","pub":{{"data":{payload}}}}}}}"##),
        );
    }

    fn answer(&mut self, flow: usize, number: u64, millis: u64, answer: &str) {
        self.hear(2 * flow, millis, &format!(r#"{{"id":{},{answer}}}"#, 1_000_000_000 + number));
    }

    fn sent(&self) -> Vec<u64> {
        self.traffic.flows.iter().map(|flow| flow.sent).collect()
    }
}

fn window(window: usize) -> impl FnOnce(Instant) -> Pace {
    move |_| Pace::Window(window)
}

fn rate(rate: u32) -> impl FnOnce(Instant) -> Pace {
    move |start| Pace::Rate(Schedule::new(start, rate))
}

const PUBLISHED: &str = r#""publish":{}"#;

#[test]
fn a_closed_loop_sends_the_next_message_when_one_has_arrived() {
    let mut run = Run::new(2, window(2), false);

    run.timeout(0);
    assert_eq!(run.sent(), [2, 2]);
    run.answer(0, 0, 1, PUBLISHED);
    assert_eq!(run.sent(), [2, 2], "an answer to publish is no delivery");
    run.deliver(0, 0, 0, 2);
    run.deliver(0, 0, 0, 3);
    assert_eq!(run.sent(), [3, 2], "a duplicate makes no room");
}

#[test]
fn with_receipts_the_answer_makes_room() {
    let mut run = Run::new(1, window(1), true);

    run.timeout(0);
    run.deliver(0, 0, 0, 1);
    assert_eq!(run.sent(), [1]);
    run.answer(0, 0, 2, r#""rpc":{"data":{"delivered":1}}"#);
    assert_eq!(run.sent(), [2]);
    assert_eq!(run.traffic.counts.offline, 0);
    run.answer(0, 1, 3, r#""rpc":{"data":{"delivered":0}}"#);
    assert_eq!((run.sent(), run.traffic.counts.offline), (vec![3], 1));
}

#[test]
fn an_open_loop_goes_by_the_clock_and_takes_the_flows_in_turn() {
    let mut run = Run::new(3, rate(100), false);

    run.timeout(0);
    assert_eq!(run.sent(), [1, 0, 0]);
    run.timeout(35);
    assert_eq!(run.sent(), [2, 1, 1], "nothing came back, and that is no matter");
    assert_eq!(run.traffic.poll_timeout(run.at(35)), run.at(40));
}

#[test]
fn what_was_due_before_the_end_is_sent_even_when_we_come_too_late() {
    let mut run = Run::new(2, rate(100), false);

    run.timeout(0);
    run.timeout(1300);

    assert_eq!(run.sent(), [55, 55], "110 in 1100 ms, and not one more");
    assert!(!run.traffic.is_over(run.at(1300)), "they are awaited");
}

#[test]
fn latency_counts_from_the_intended_time_and_only_in_the_window() {
    let mut run = Run::new(1, rate(10), false);

    run.timeout(0);
    run.deliver(0, 0, 0, 90);
    assert_eq!(run.traffic.latency.percentiles(), None, "warm-up");
    run.timeout(130);
    run.deliver(0, 1, 100, 150);

    let told = run.traffic.latency.percentiles().expect("measured");
    assert_eq!(told.count, 1);
    assert!((told.p50_us - 50_000.0).abs() < 100.0, "sent at 130, meant for 100, here at 150: {told:?}");
    let late = run.traffic.lateness.percentiles().expect("measured");
    assert!((late.p50_us - 30_000.0).abs() < 100.0, "{late:?}");
    assert_eq!(run.traffic.counts.delivered_measured, 1);
    assert_eq!(run.traffic.counts.delivered, 2);
}

#[test]
fn a_run_is_over_when_all_is_in_or_the_waiting_has_been_long_enough() {
    let mut run = Run::new(1, window(2), false);
    run.timeout(0);
    run.deliver(0, 0, 0, 1100);
    assert_eq!(run.sent(), [2], "the sending is over");

    let is_over = |run: &Run, millis| run.traffic.is_over(run.at(millis));
    assert!(!is_over(&run, 1101));
    run.answer(0, 0, 1102, PUBLISHED);
    run.answer(0, 1, 1102, PUBLISHED);
    assert!(!is_over(&run, 1102) && is_over(&run, 6100));
    assert_eq!(run.traffic.flows[0].lost(), 1);
    run.deliver(0, 1, 0, 1103);
    assert!(is_over(&run, 1103));
    assert_eq!(run.traffic.flows[0].lost(), 0);
}

#[test]
fn what_is_refused_is_told_and_neither_lost_nor_waited_for() {
    let mut run = Run::new(1, window(1), false);
    run.timeout(0);

    run.answer(0, 0, 1, r#""error":{"code":100,"message":"internal server error","temporary":true}"#);

    assert_eq!(run.sent(), [2]);
    let refusals: Vec<_> = run.traffic.counts.refusals.iter().map(|(why, n)| format!("{n} {why}")).collect();
    assert_eq!(refusals, ["1 error 100, internal server error"]);
    run.deliver(0, 1, 1, 1200);
    run.answer(0, 1, 1200, PUBLISHED);
    assert_eq!(run.traffic.flows[0].lost(), 0);
    assert!(run.traffic.is_over(run.at(1200)));
}

#[test]
fn a_message_that_does_not_come_stalls_its_flow_only_for_a_while() {
    let mut run = Run::new(2, window(1), false);
    run.traffic.phases = Phases::new(run.start, WARM_UP, Duration::from_secs(60));
    run.timeout(0);
    run.deliver(1, 0, 0, 4000);

    run.timeout(5000);
    assert_eq!(run.sent(), [1, 2]);
    run.timeout(6001);
    assert_eq!((run.sent(), run.traffic.counts.stalls), (vec![2, 2], 1));
}

#[test]
fn nothing_is_sent_by_whom_the_server_has_let_go() {
    let mut run = Run::new(2, rate(100), false);

    run.traffic.ended(ClientIndex(0), run.start, End::Closed { code: 3008, reason: "slow".to_owned() });
    run.timeout(30);

    assert_eq!((run.sent(), run.traffic.counts.unsent), (vec![0, 2], 2));
    assert!(!run.traffic.is_deserted());
    let reasons: Vec<_> = run.traffic.counts.ended.keys().collect();
    assert_eq!(reasons, ["it closed the connection with 3008 \"slow\""]);
}

#[test]
fn strays_and_other_runs_messages_are_told_apart() {
    let mut run = Run::new(2, window(1), false);
    run.timeout(0);

    run.deliver(0, 5, 0, 1);
    run.deliver(9, 0, 0, 1);
    run.payload = Payload::new(RUN + 1, 100);
    run.deliver(0, 0, 0, 1);

    assert_eq!((run.traffic.counts.strays, run.traffic.counts.delivered), (2, 0));
}

#[test]
fn a_ping_is_answered() {
    let mut run = Run::new(1, rate(1), false);

    run.hear(1, 0, "{}");

    assert_eq!(run.outboxes.bytes(ClientIndex(1)), 2 + 4 + 2, "head, mask, {{}}");
}
