//! Who has come in and not yet said who it is, and who of them must go when there is no room for another.
//!
//! A stranger costs whoever lets it in a socket and some memory, and may say nothing for seconds. To refuse the next one
//! would let ten thousand silent strangers keep everybody else out. So the next one is always let in, and the one that
//! ends is the oldest of the address that holds the most: honest clients are newcomers for milliseconds only, and an
//! address with many of them pays before one with few.
//!
//! [`Newcomers`] is the rule, pure; [`Lobby`] is shared by a door's tasks, each of which has a [`Stay`]. A door for
//! browsers, a line door and a relay use them alike: whatever has a remote address can be a newcomer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::pending;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

/// Newcomers by number and address; `T` is what ends one.
///
/// # Invariants
/// `origins` has every newcomer once, `by_origin` has it at its origin, no origin without newcomers, and `crowds` has
/// every origin of `by_origin` once, with how many it has and the oldest of them.
#[derive(Debug)]
pub struct Newcomers<T> {
    origins: HashMap<u64, Origin>,
    /// Oldest first.
    by_origin: HashMap<Origin, BTreeMap<u64, T>>,
    /// The last is where somebody must go: the most newcomers, and among equals the one with the oldest.
    crowds: BTreeSet<(usize, Reverse<u64>, Origin)>,
}

/// Addresses that one party can have as many of as it likes count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Origin(IpAddr);

impl Origin {
    /// Whoever has an IPv6 address has at least the 64 bits behind its network.
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.into()),
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                Self(Ipv6Addr::from(network).into())
            }
        }
    }
}

impl<T> Default for Newcomers<T> {
    fn default() -> Self {
        Self { origins: HashMap::new(), by_origin: HashMap::new(), crowds: BTreeSet::new() }
    }
}

impl<T> Newcomers<T> {
    /// Lets one in. A number is used once, and a higher one is a later newcomer.
    pub fn enter(&mut self, number: u64, address: IpAddr, end: T) {
        let origin = Origin::of(address);
        self.origins.insert(number, origin);
        self.change(origin, |newcomers| newcomers.insert(number, end));
    }

    /// Forgets one that has gone or is no newcomer any more, unless it was forgotten before.
    pub fn leave(&mut self, number: u64) -> Option<T> {
        let origin = self.origins.remove(&number)?;
        self.change(origin, |newcomers| newcomers.remove(&number))
    }

    /// Forgets the one that must go so that another has room; none where there are no newcomers.
    pub fn make_room(&mut self) -> Option<T> {
        let &(_, Reverse(oldest), _) = self.crowds.last()?;
        self.leave(oldest)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// Changes the newcomers of one origin, and its place among the crowds with them.
    fn change<R>(&mut self, origin: Origin, change: impl FnOnce(&mut BTreeMap<u64, T>) -> R) -> R {
        let newcomers = self.by_origin.entry(origin).or_default();
        if let Some(crowd) = crowd(origin, newcomers) {
            self.crowds.remove(&crowd);
        }
        let changed = change(newcomers);
        match crowd(origin, newcomers) {
            Some(crowd) => {
                self.crowds.insert(crowd);
            }
            None => {
                self.by_origin.remove(&origin);
                // What a flood made room for is given back.
                if self.by_origin.is_empty() {
                    *self = Self::default();
                }
            }
        }
        changed
    }
}

fn crowd<T>(origin: Origin, newcomers: &BTreeMap<u64, T>) -> Option<(usize, Reverse<u64>, Origin)> {
    newcomers.first_key_value().map(|(&oldest, _)| (newcomers.len(), Reverse(oldest), origin))
}

/// Newcomers at one or more doors, `max` at once.
#[derive(Debug, Clone)]
pub struct Lobby {
    newcomers: Arc<Mutex<Newcomers<oneshot::Sender<()>>>>,
    max: usize,
}

/// One newcomer's time in a lobby, as its task sees it. Dropping it is leaving.
#[derive(Debug)]
pub struct Stay {
    lobby: Lobby,
    number: u64,
    /// `None` when it is no newcomer any more.
    end: Option<oneshot::Receiver<()>>,
}

impl Lobby {
    /// A lobby in which the oldest must go when there would be more than `max`.
    pub fn new(max: usize) -> Self {
        Self { newcomers: Arc::default(), max }
    }

    /// Lets one in; see [`Newcomers::enter`].
    pub fn enter(&self, number: u64, address: IpAddr) -> Stay {
        let (sender, end) = oneshot::channel();
        let mut newcomers = self.lock();
        if newcomers.len() >= self.max {
            tell(newcomers.make_room());
        }
        newcomers.enter(number, address, sender);
        drop(newcomers);
        Stay { lobby: self.clone(), number, end: Some(end) }
    }

    /// Whoever has `number` is no newcomer any more, and stays.
    pub fn leave(&self, number: u64) {
        self.lock().leave(number);
    }

    /// Ends the one that must go so that another has room; whether there was one.
    pub fn make_room(&self) -> bool {
        tell(self.lock().make_room())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Newcomers<oneshot::Sender<()>>> {
        self.newcomers.lock().expect("nobody panics while holding it")
    }
}

/// Tells a newcomer that it must go; one whose task is just ending by itself does not listen any more.
fn tell(newcomer: Option<oneshot::Sender<()>>) -> bool {
    newcomer.map(|end| end.send(())).is_some()
}

impl Stay {
    /// Waits until this newcomer must go: its task should end at once. Never comes back when it is no newcomer any more.
    pub async fn ended(&mut self) {
        if let Some(end) = &mut self.end
            && end.await.is_ok()
        {
            return;
        }
        self.end = None;
        pending::<()>().await;
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.lobby.leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn lobby_of(newcomers: &[(u64, &str)]) -> Newcomers<u64> {
        let mut lobby = Newcomers::default();
        for &(number, from) in newcomers {
            lobby.enter(number, address(from), number);
        }
        lobby
    }

    #[test]
    fn the_oldest_of_the_address_with_the_most_goes_first() {
        let mut lobby = lobby_of(&[(1, "192.0.2.1"), (2, "192.0.2.2"), (3, "192.0.2.2"), (4, "192.0.2.3")]);
        let order: Vec<u64> = std::iter::from_fn(|| lobby.make_room()).collect();
        assert_eq!(order, [2, 1, 3, 4], "among equals the oldest of all");
        assert!(lobby.is_empty());
    }

    #[test]
    fn whoever_left_is_not_ended() {
        let mut lobby = lobby_of(&[(1, "192.0.2.1"), (2, "192.0.2.1"), (3, "192.0.2.1")]);
        assert_eq!(lobby.leave(1), Some(1));
        assert_eq!(lobby.leave(1), None);
        assert_eq!(lobby.make_room(), Some(2));
        assert_eq!(lobby.leave(2), None);
        assert_eq!(lobby.len(), 1);
    }

    #[test]
    fn addresses_that_one_party_has_in_plenty_are_one() {
        let same = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::1"];
        let other = "2001:db8:0:2::1";
        let mut lobby = lobby_of(&[(1, other), (2, same[0]), (3, same[1])]);
        assert_eq!(lobby.make_room(), Some(2));
        let mut lobby = lobby_of(&[(1, "192.0.2.2"), (2, "192.0.2.1"), (3, "::ffff:192.0.2.1")]);
        assert_eq!(lobby.make_room(), Some(2), "on a socket of both families");
    }

    #[tokio::test]
    async fn a_full_lobby_ends_one_for_the_next_and_none_that_has_left() {
        let lobby = Lobby::new(2);
        let mut crowd = vec![lobby.enter(1, address("192.0.2.1")), lobby.enter(2, address("192.0.2.1"))];
        let good = lobby.enter(3, address("192.0.2.9"));
        crowd[0].ended().await;
        assert_eq!(lobby.len(), 2);
        lobby.leave(3);
        assert!(lobby.make_room());
        crowd[1].ended().await;
        assert!(!lobby.make_room(), "nobody is left who could go");
        drop((good, crowd));
        assert!(lobby.is_empty());
    }

    #[tokio::test]
    async fn whoever_is_no_newcomer_any_more_is_never_told_to_go() {
        let lobby = Lobby::new(1);
        let mut stay = lobby.enter(1, address("192.0.2.1"));
        lobby.leave(1);
        let waited = tokio::time::timeout(std::time::Duration::from_millis(10), stay.ended()).await;
        assert!(waited.is_err());
        let _next = lobby.enter(2, address("192.0.2.1"));
        drop(stay);
        assert_eq!(lobby.len(), 1, "its number is not another's");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Enter(u8),
        Leave(usize),
        MakeRoom,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..4_u8).prop_map(Step::Enter),
            any::<usize>().prop_map(Step::Leave),
            Just(Step::MakeRoom)
        ]
    }

    proptest! {
        /// Against the same rule, said without any speed.
        #[test]
        fn the_rule_is_kept_in_any_order_of_coming_and_going(steps in prop::collection::vec(step(), 0..200)) {
            let mut newcomers = Newcomers::default();
            let mut there: BTreeMap<u64, u8> = BTreeMap::new();
            for (number, step) in (0..).zip(steps) {
                match step {
                    Step::Enter(from) => {
                        newcomers.enter(number, IpAddr::from([192, 0, 2, from]), number);
                        there.insert(number, from);
                    }
                    Step::Leave(at) => {
                        let number = *there.keys().nth(at % there.len().max(1)).unwrap_or(&u64::MAX);
                        prop_assert_eq!(newcomers.leave(number), there.remove(&number).map(|_| number));
                    }
                    Step::MakeRoom => {
                        let count = |from: u8| there.values().filter(|&&other| other == from).count();
                        let goes = there.iter().max_by_key(|&(&number, &from)| (count(from), Reverse(number)));
                        let goes = goes.map(|(&number, _)| number);
                        prop_assert_eq!(newcomers.make_room(), goes);
                        goes.map(|number| there.remove(&number));
                    }
                }
                prop_assert_eq!(newcomers.len(), there.len());
            }
        }
    }
}
