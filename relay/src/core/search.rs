//! Where a user's clients are, asked of the edges that hold his personal channel, and of nobody else.

use std::time::{Duration, Instant};

use proto::id::{NodeName, UserId};
use proto::link::{Found, Member, ToEdge};

use super::router::Router;
use super::{Action, Map};

/// An edge that has not answered by then did not answer. Operators wait for it, and edges are a round trip away.
pub const SEARCH_MAX: Duration = Duration::from_secs(1);

/// Where a user's clients are, as far as this relay knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    /// Whether this relay knew every edge that there may be, when it asked and when it was answered.
    pub is_complete: bool,
    /// Edges that hold his personal channel, by name.
    pub edges: Vec<Place>,
}

/// An edge that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which.
    pub edge: NodeName,
    /// How many clients he has there, and some of them, the oldest first; none where it did not answer.
    pub clients: Option<(u32, Vec<Found>)>,
}

/// A search that is under way.
#[derive(Debug)]
pub(super) struct Search {
    until: Instant,
    /// Whoever is linked later is not asked.
    was_complete: bool,
    awaited: Vec<(Member, NodeName)>,
    places: Vec<Place>,
}

/// All of them, by the shell's number.
pub(super) type Searches = Map<u32, Search>;

impl Search {
    /// Notes what `member` said, if it was asked; `None`: it will say nothing.
    fn heard(&mut self, member: Member, clients: Option<(u32, Vec<Found>)>) {
        if let Some(at) = self.awaited.iter().position(|&(awaited, _)| awaited == member) {
            let (_, edge) = self.awaited.swap_remove(at);
            self.places.push(Place { edge, clients });
        }
    }
}

impl Router {
    /// Asks everybody who holds the personal channel of `user`.
    pub(super) fn search(&mut self, now: Instant, query: u32, user: &UserId) {
        let channel = user.personal_channel();
        let holders = self.holders(&channel).to_vec();
        let name = |member: Member| Some((member, self.members.get(member)?.life.edge.name.clone()));
        let awaited: Vec<(Member, NodeName)> = holders.iter().copied().filter_map(name).collect();
        let (until, was_complete) = (now + SEARCH_MAX, self.is_complete(now));
        self.searches.insert(query, Search { until, was_complete, awaited, places: Vec::new() });
        for member in holders {
            self.say(member, &ToEdge::WhereIs { query, channel: channel.clone() });
        }
        self.end_searches(now);
    }

    pub(super) fn here(&mut self, now: Instant, member: Member, query: u32, total: u32, clients: Vec<Found>) {
        if let Some(search) = self.searches.get_mut(&query) {
            search.heard(member, Some((total, clients)));
            self.end_searches(now);
        }
    }

    /// Its link ended, and nobody waits for its answer; whose search that ends is told with the next timeout.
    pub(super) fn leave_searches(&mut self, member: Member) {
        for search in self.searches.values_mut() {
            search.heard(member, None);
        }
    }

    /// Ends the searches that wait for nobody, or have waited long enough.
    pub(super) fn end_searches(&mut self, now: Instant) {
        let is_over = |_: &u32, search: &mut Search| search.awaited.is_empty() || search.until <= now;
        let mut over: Vec<(u32, Search)> = self.searches.extract_if(is_over).collect();
        over.sort_unstable_by_key(|&(query, _)| query);
        let is_complete = self.is_complete(now);
        for (query, Search { was_complete, awaited, places: mut edges, .. }) in over {
            edges.extend(awaited.into_iter().map(|(_, edge)| Place { edge, clients: None }));
            edges.sort_unstable_by(|a, b| a.edge.cmp(&b.edge));
            let whereabouts = Whereabouts { is_complete: was_complete && is_complete, edges };
            self.actions.push_back(Action::Found { query, whereabouts });
        }
    }

    pub(super) fn next_search_due(&self) -> Option<Instant> {
        self.searches.values().map(|search| search.until).min()
    }
}
