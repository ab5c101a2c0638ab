//! What happened, for operators: the last entries, oldest first. Nothing is decided by it.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use proto::id::NodeName;

/// Entries that are kept: a hundred edges that come or go leave room for as many more.
pub const ENTRIES_MAX: usize = 200;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When, by this relay's clock: time since the unix epoch.
    pub unix: Duration,
    /// What.
    pub kind: EntryKind,
    /// To which edge, where it was one.
    pub edge: Option<NodeName>,
    /// More of it, for people.
    pub text: Cow<'static, str>,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// This relay started.
    Started,
    /// A process of an edge linked for the first time.
    Linked,
    /// One that had been linked, here or at another relay, linked again.
    Back,
    /// An edge's link ended; it may come back.
    Lost,
    /// An edge said goodbye.
    Left,
    /// A lease was ended, and its routes are being removed.
    Reaped,
    /// An edge gave way to a newer process of its name.
    Superseded,
    /// A link was closed that no edge had come to be known on.
    Refused,
    /// The store had lost a linked edge's lease, and it got another.
    Renewed,
    /// This relay stood still.
    Froze,
    /// It knows every edge that there may be.
    Complete,
    /// It does not any more.
    Incomplete,
    /// The store does not answer.
    StoreAway,
    /// It does again.
    StoreBack,
}

impl EntryKind {
    /// As one word, in JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Linked => "linked",
            Self::Back => "back",
            Self::Lost => "lost",
            Self::Left => "left",
            Self::Reaped => "reaped",
            Self::Superseded => "superseded",
            Self::Refused => "refused",
            Self::Renewed => "renewed",
            Self::Froze => "froze",
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::StoreAway => "store away",
            Self::StoreBack => "store back",
        }
    }
}

/// See the file.
#[derive(Debug)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    was_complete: bool,
    was_away: bool,
}

impl Journal {
    pub(super) fn new(unix: Duration) -> Self {
        let entries = VecDeque::with_capacity(ENTRIES_MAX);
        let mut journal = Self { entries, was_complete: false, was_away: false };
        journal.enter(unix, EntryKind::Started, None, "");
        journal
    }

    pub(super) fn enter(
        &mut self,
        unix: Duration,
        kind: EntryKind,
        edge: Option<&NodeName>,
        text: impl Into<Cow<'static, str>>,
    ) {
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
        }
        let (edge, text) = (edge.cloned(), text.into());
        self.entries.push_back(Entry { unix, kind, edge, text });
    }

    /// Takes down what has changed since the last look. Looked at with each tick, so that the blink of an eye in which an
    /// edge joins what it holds is not worth an entry.
    pub(super) fn look(&mut self, unix: Duration, is_complete: bool, is_away: bool) {
        if is_away != self.was_away {
            self.was_away = is_away;
            self.enter(unix, if is_away { EntryKind::StoreAway } else { EntryKind::StoreBack }, None, "");
        }
        if is_complete != self.was_complete {
            self.was_complete = is_complete;
            self.enter(unix, if is_complete { EntryKind::Complete } else { EntryKind::Incomplete }, None, "");
        }
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }
}
