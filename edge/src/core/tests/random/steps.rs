//! What may happen, and how often.

use proptest::prelude::*;

pub(crate) const USERS: [&str; 3] = ["alice", "bob", "carol"];
pub(crate) const CHANNELS: [&str; 7] = ["news", "chat", "#alice", "#bob", "dialog#alice,bob", "$x", "room"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begins {
    Alone,
    Unlinked,
    Linked,
}

/// What may happen. Numbers pick one of what there is.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Open { is_line: bool },
    LogIn { is_line: bool, user: usize, token: u8 },
    Connect { client: usize, user: usize, token: u8 },
    Subscribe { client: usize, channel: usize },
    Unsubscribe { client: usize, channel: usize },
    Publish { client: usize, channel: usize, is_large: bool },
    Direct { client: usize, user: usize, is_large: bool },
    Refresh { client: usize, user: usize, token: u8 },
    Raw { client: usize, frame: &'static str },
    Read { client: usize },
    Close { client: usize },
    OpenLink,
    CloseLink,
    Welcome { is_new_epoch: bool },
    Lease,
    EndLease,
    AnswerJoin { elsewhere: bool },
    OldJoined { channel: usize, number: u32 },
    Elsewhere { channel: usize, elsewhere: bool, telling: u64 },
    Gone { member: u32 },
    Arrives { channel: usize, is_large: bool, wants_receipt: bool },
    Nonsense { lane: usize },
    Routed { ticket: usize, holders: u32, complete: bool },
    Answered { ticket: usize, holder: u32, answer: u8 },
    StoreWrites,
    StoreDoes,
    StoreFails { is_away: bool, done: usize },
    StoreFences,
    StoreLooks,
    StoreReads { fails: bool },
    Freeze { millis: u64 },
    LookedUp { ticket: usize, answer: u8 },
    Clock { seconds: i64 },
    Wait { millis: u64 },
    Stop,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    let (client, user, channel) = (0..8_usize, 0..USERS.len(), 0..CHANNELS.len());
    let (ticket, flag) = (0..3_usize, any::<bool>());
    let large = prop::bool::weighted(0.3);
    let frame = prop::sample::select(vec![
        "{}",
        "nonsense",
        r#"{"id":ID,"publish":{"channel":""}}"#,
        r#"{"id":ID,"ping":{}}"#,
        r#"{"send":{}}"#,
        r#"{"id":ID,"history":{"channel":"news"}}"#,
    ]);
    let line = prop::bool::weighted(0.2);
    let clients = prop_oneof![
        1 => line.prop_map(|is_line| Open { is_line }),
        8 => (line, user.clone(), any::<u8>()).prop_map(|(is_line, user, token)| LogIn { is_line, user, token }),
        1 => (client.clone(), user.clone(), any::<u8>()).prop_map(|(client, user, token)| Connect { client, user, token }),
        24 => (client.clone(), channel.clone()).prop_map(|(client, channel)| Subscribe { client, channel }),
        12 => (client.clone(), channel.clone()).prop_map(|(client, channel)| Unsubscribe { client, channel }),
        16 => (client.clone(), channel.clone(), large)
            .prop_map(|(client, channel, is_large)| Publish { client, channel, is_large }),
        24 => (client.clone(), user.clone(), large)
            .prop_map(|(client, user, is_large)| Direct { client, user, is_large }),
        1 => (client.clone(), user.clone(), any::<u8>()).prop_map(|(client, user, token)| Refresh { client, user, token }),
        1 => (client.clone(), frame).prop_map(|(client, frame)| Raw { client, frame }),
        8 => client.clone().prop_map(|client| Read { client }),
        3 => client.prop_map(|client| Close { client }),
    ];
    let relay = prop_oneof![
        1 => Just(OpenLink),
        1 => Just(CloseLink),
        6 => prop::bool::weighted(0.1).prop_map(|is_new_epoch| Welcome { is_new_epoch }),
        6 => Just(Lease),
        2 => Just(EndLease),
        24 => flag.prop_map(|elsewhere| AnswerJoin { elsewhere }),
        2 => (channel.clone(), 0..9_u32).prop_map(|(channel, number)| OldJoined { channel, number }),
        4 => (channel.clone(), flag, 0..3_u64)
            .prop_map(|(channel, elsewhere, telling)| Elsewhere { channel, elsewhere, telling }),
        2 => (2..5_u32).prop_map(|member| Gone { member }),
        6 => (channel, large, flag)
            .prop_map(|(channel, is_large, wants_receipt)| Arrives { channel, is_large, wants_receipt }),
        1 => (0..16_usize).prop_map(|lane| Nonsense { lane }),
        12 => (ticket.clone(), 0..3_u32, flag).prop_map(|(ticket, holders, complete)| Routed { ticket, holders, complete }),
        16 => (ticket.clone(), 2..5_u32, any::<u8>())
            .prop_map(|(ticket, holder, answer)| Answered { ticket, holder, answer }),
    ];
    let others = prop_oneof![
        8 => Just(StoreWrites),
        3 => Just(StoreDoes),
        4 => (flag, 0..4_usize).prop_map(|(is_away, done)| StoreFails { is_away, done }),
        1 => Just(StoreFences),
        2 => Just(StoreLooks),
        3 => prop::bool::weighted(0.2).prop_map(|fails| StoreReads { fails }),
        1 => (2_001..9_000_u64).prop_map(|millis| Freeze { millis }),
        8 => (ticket, any::<u8>()).prop_map(|(ticket, answer)| LookedUp { ticket, answer }),
        1 => (-90..90_i64).prop_map(|seconds| Clock { seconds }),
        8 => prop_oneof![0..300_u64, 0..3_000_u64].prop_map(|millis| Wait { millis }),
    ];
    prop_oneof![1500 => clients, 1000 => relay, 500 => others, 1 => Just(Stop)]
}
