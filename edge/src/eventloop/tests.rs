//! The loop with a real clock, where a script cannot be: freezes, and what they leave in the queues.

use bytes::Bytes;
use node::metrics::Registry;
use node::outbox::{Drain, outbox};
use proto::client::ClientId;
use proto::client::code::Disconnect;
use proto::link::Door;
use tokio::task::JoinHandle;

use super::*;
use crate::core::{ClientKey, Encoding, HubConfig, OUTBOX_BYTES_MAX, Opened};
use crate::token::{self, Verifier};

#[tokio::test]
async fn a_loop_that_stood_still_lets_go_of_those_who_went_before_it_delivers() {
    let mut running = Running::start();
    running.tick().await;
    let (mut alice, mut bob) = (running.log_in(1, "alice").await, running.log_in(2, "bob").await);

    // Nothing else runs on this thread meanwhile.
    std::thread::sleep(Duration::from_millis(2_600));
    let send = r#"{"id":2,"rpc":{"method":"send","data":{"to":"bob","data":1}}}"#;
    let frame = Bytes::from_static(send.as_bytes());
    running.tell(Event::Frame { client: ClientKey(1), frame, is_rest: false });
    running.tell(Event::Closed { client: ClientKey(2), why: Disconnect::Closed });
    assert_eq!(read(&mut alice).await, [r#"{"id":2,"rpc":{"data":{"delivered":0}}}"#]);
    assert_eq!(bob.take(&mut Vec::new(), 1).await, node::outbox::Taken::Closed(Disconnect::Closed));
    assert!(running.rendered().contains("edge_freezes_total 1"), "{}", running.rendered());

    running.stop().await;
}

struct Running {
    inputs: mpsc::Sender<Input>,
    registry: Registry,
    halt: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    fn start() -> Self {
        let config = HubConfig {
            name: NodeName::parse("edge-1").expect("valid"),
            capacity: 500,
            has_relay: false,
            verifier: Verifier::new(Some("secret")),
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(8),
            hash_seed: 1,
        };
        let registry = Registry::new("edge", "0");
        let metrics = Arc::new(Metrics::new(&registry, 500));
        let (inputs, receiver) = mpsc::channel(INPUTS_MAX);
        let (_, echoes) = mpsc::channel(1);
        let (halt, stop) = watch::channel(false);
        let eventloop = EventLoop {
            name: config.name.clone(),
            isolation: Isolation::new(config.name.clone(), Instant::now()),
            fence_warned: None,
            hub: Hub::new(config, Instant::now(), unix()),
            has_relay: false,
            was_linked: false,
            store: Store::memory(),
            inputs: receiver,
            echoes,
            answers: inputs.clone(),
            capacity: Capacity::new(500, Arc::clone(&metrics)),
            newcomers: Lobby::new(500),
            metrics,
            loop_metrics: LoopMetrics::new(&registry),
            pulse: Pulse::new(),
            readiness: Readiness::new(),
            stop,
            link: None,
        };
        Self { inputs, registry, halt, task: tokio::spawn(eventloop.run()) }
    }

    /// Lets the loop turn for the first time.
    async fn tick(&self) {
        sleep(Duration::from_millis(10)).await;
    }

    fn tell(&self, event: Event) {
        self.inputs.try_send(Input::Event(event)).expect("there is room");
    }

    async fn log_in(&mut self, n: u64, user: &str) -> Drain<Disconnect> {
        let (outbox, mut drain) = outbox(OUTBOX_BYTES_MAX);
        self.tell(Event::Opened(Opened {
            client: ClientKey(n),
            id: ClientId(u128::from(n)),
            door: Door::WebSocket,
            encoding: Encoding::Json,
            pings: true,
            patience: Duration::from_secs(10),
            chance: 0.5,
            outbox,
        }));
        let token = token::sign("secret", r#"{"alg":"HS256"}"#, &format!(r#"{{"sub":"{user}"}}"#));
        let frame = format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#).into();
        self.tell(Event::Frame { client: ClientKey(n), frame, is_rest: false });
        assert!(read(&mut drain).await[0].starts_with(r#"{"id":1,"connect""#));
        drain
    }

    fn rendered(&self) -> String {
        self.registry.page().render()
    }

    async fn stop(self) {
        self.halt.send_replace(true);
        self.task.await.expect("the loop ends in order");
    }
}

async fn read(drain: &mut Drain<Disconnect>) -> Vec<String> {
    let mut frames = Vec::new();
    drain.take(&mut frames, usize::MAX).await;
    frames.iter().map(|frame| String::from_utf8(frame.to_vec()).expect("UTF-8")).collect()
}
