//! The client protocol in JSON: one object a line, any number of lines a frame.
//!
//! [`commands`] walks a frame lazily, so that a frame full of tiny commands costs no memory. Payloads are slices of
//! the frame: they are never parsed further nor written anew. The encoders answer one object without a newline.

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::code::{Disconnect, ErrorCode};
use super::{
    ClientId, Command, Connected, DirectMessage, NamedChannel, Publication, Reply, Request, Subscribe,
};
use crate::id::{Channel, UserId};

/// The server's ping, and the client's pong.
pub const PING: &[u8] = b"{}";

/// Yields the commands of `frame` in order. One trailing newline is tolerated; an empty line, or anything that is not
/// a command, yields [`Request::Malformed`] and ends the walk.
pub fn commands(frame: &Bytes) -> Commands {
    let end = frame.len() - usize::from(frame.ends_with(b"\n"));
    Commands { rest: Some(frame.slice(..end)) }
}

/// Cuts `frame` into slices of at most [`SLICE_COMMANDS`] commands, in order and without copying. [`commands`] of all
/// slices are those of the frame, up to the first that is malformed.
pub fn slices(frame: Bytes) -> Slices {
    Slices { rest: Some(frame) }
}

/// So many commands of one client are done before others have their turn. A frame of tiny commands has thousands, and a
/// thousand frames may wait; SDKs that come back put a connect and their subscribes into one frame, dozens as a rule.
pub const SLICE_COMMANDS: usize = 32;

/// See [`slices`]. None of nothing.
#[derive(Debug, Default)]
pub struct Slices {
    rest: Option<Bytes>,
}

impl Iterator for Slices {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut slice = self.rest.take()?;
        let Some(cut) = memchr::memchr_iter(b'\n', &slice).nth(SLICE_COMMANDS - 1) else {
            return Some(slice);
        };
        // The newline ends the slice's last command. It is the tolerated one where nothing stands behind it.
        if cut + 1 < slice.len() {
            self.rest = Some(slice.split_off(cut + 1));
        }
        Some(slice)
    }
}

/// See [`commands`].
#[derive(Debug)]
pub struct Commands {
    rest: Option<Bytes>,
}

impl Iterator for Commands {
    type Item = Command;

    fn next(&mut self) -> Option<Command> {
        let mut line = self.rest.take()?;
        if let Some(newline) = line.iter().position(|&b| b == b'\n') {
            let head = line.split_to(newline);
            self.rest = Some(line.slice(1..));
            line = head;
        }
        let command = command(&line);
        if command.request == Request::Malformed {
            self.rest = None;
        }
        Some(command)
    }
}

fn command(line: &Bytes) -> Command {
    // serde takes an array for a struct, field by field; the protocol has objects only.
    let is_object = line.trim_ascii_start().first() == Some(&b'{');
    let Some(wire) = serde_json::from_slice::<WireCommand<'_>>(line).ok().filter(|_| is_object) else {
        return Command { id: 0, request: Request::Malformed };
    };
    Command { id: wire.id, request: wire.into_request(line) }
}

/// Reads the argument of the RPC method `send`; `None` where a part is missing, of the wrong type, or no user.
fn direct_message(data: &Bytes) -> Option<DirectMessage> {
    let wire = serde_json::from_slice::<WireDirectMessage<'_>>(data).ok()?;
    let to = UserId::parse(&wire.to).ok()?;
    Some(DirectMessage { to, data: data.slice_ref(wire.data.get().as_bytes()) })
}

/// The user named in a `ClientInfo`, as [`client_info`] wrote it.
pub fn user_of(info: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Info {
        user: String,
    }
    serde_json::from_slice::<Info>(info).ok().map(|info| info.user)
}

/// Encodes who a client is: `{"user":…,"client":…,"conn_info":…}`. `conn_info` must be one JSON value on one line.
pub fn client_info(user: &UserId, client: ClientId, conn_info: Option<&str>) -> Bytes {
    let mut out = br#"{"user":"#.to_vec();
    push_string(&mut out, user.as_str());
    out.extend_from_slice(format!(r#","client":"{client}""#).as_bytes());
    if let Some(conn_info) = conn_info {
        out.extend_from_slice(br#","conn_info":"#);
        out.extend_from_slice(conn_info.as_bytes());
    }
    out.push(b'}');
    out.into()
}

/// Encodes the push that brings `publication` to the subscribers of `channel`.
pub fn publication(channel: &str, publication: Publication<'_>) -> Bytes {
    let Publication { data, info } = publication;
    let mut out = Vec::with_capacity(channel.len() + data.len() + info.len() + 64);
    out.extend_from_slice(br#"{"push":{"channel":"#);
    push_string(&mut out, channel);
    out.extend_from_slice(br#","pub":{"data":"#);
    out.extend_from_slice(data);
    out.extend_from_slice(br#","info":"#);
    out.extend_from_slice(info);
    out.extend_from_slice(b"}}}");
    out.into()
}

/// Encodes the push that ends a connection on which nothing else tells why.
pub fn disconnect(why: Disconnect) -> Bytes {
    let (code, reason) = (why.number(), why.reason());
    format!(r#"{{"push":{{"disconnect":{{"code":{code},"reason":"{reason}"}}}}}}"#).into()
}

/// Encodes `reply` to the command `id`.
pub fn reply(id: u32, reply: &Reply) -> Bytes {
    let mut out = format!(r#"{{"id":{id},"#).into_bytes();
    match reply {
        Reply::Error(code) => push_error(&mut out, *code),
        Reply::Connect(connected) => push_connected(&mut out, connected),
        Reply::Subscribe => out.extend_from_slice(br#""subscribe":{}"#),
        Reply::Unsubscribe => out.extend_from_slice(br#""unsubscribe":{}"#),
        Reply::Publish => out.extend_from_slice(br#""publish":{}"#),
        Reply::Ping => out.extend_from_slice(br#""ping":{}"#),
        Reply::Delivered(n) => {
            out.extend_from_slice(format!(r#""rpc":{{"data":{{"delivered":{n}}}}}"#).as_bytes());
        }
        Reply::Refresh { client, ttl } => {
            out.extend_from_slice(format!(r#""refresh":{{"client":"{client}""#).as_bytes());
            push_ttl(&mut out, *ttl);
            out.push(b'}');
        }
    }
    out.push(b'}');
    out.into()
}

fn push_error(out: &mut Vec<u8>, code: ErrorCode) {
    let (number, message) = (code.number(), code.message());
    out.extend_from_slice(format!(r#""error":{{"code":{number},"message":"{message}""#).as_bytes());
    if code.is_temporary() {
        out.extend_from_slice(br#","temporary":true"#);
    }
    out.push(b'}');
}

fn push_connected(out: &mut Vec<u8>, connected: &Connected) {
    let (client, version) = (connected.client, env!("CARGO_PKG_VERSION"));
    out.extend_from_slice(
        format!(r#""connect":{{"client":"{client}","version":"Causeway {version}""#).as_bytes(),
    );
    push_ttl(out, connected.ttl);
    if !connected.channels.is_empty() {
        out.extend_from_slice(br#","subs":{"#);
        for (i, channel) in connected.channels.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            push_string(out, channel.as_str());
            out.extend_from_slice(b":{}");
        }
        out.push(b'}');
    }
    if connected.ping_seconds > 0 {
        out.extend_from_slice(format!(r#","ping":{},"pong":true"#, connected.ping_seconds).as_bytes());
    }
    out.push(b'}');
}

fn push_ttl(out: &mut Vec<u8>, ttl: Option<u32>) {
    if let Some(ttl) = ttl {
        out.extend_from_slice(format!(r#","expires":true,"ttl":{ttl}"#).as_bytes());
    }
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string is always JSON, and a Vec takes every write");
}

#[derive(Deserialize)]
struct WireDirectMessage<'a> {
    to: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// One line as it came. Unknown fields are ignored, as the protocol demands of both sides.
#[derive(Deserialize)]
struct WireCommand<'a> {
    #[serde(default)]
    id: u32,
    #[serde(default)]
    connect: Option<WireToken>,
    #[serde(default)]
    ping: Option<Empty>,
    #[serde(default)]
    subscribe: Option<WireSubscribe>,
    #[serde(default)]
    unsubscribe: Option<WireChannel>,
    #[serde(borrow, default)]
    publish: Option<WirePublish<'a>>,
    #[serde(default)]
    presence: Option<WireChannel>,
    #[serde(default)]
    presence_stats: Option<WireChannel>,
    #[serde(default)]
    history: Option<WireChannel>,
    #[serde(borrow, default)]
    rpc: Option<WireRpc<'a>>,
    #[serde(default)]
    send: Option<Empty>,
    #[serde(default)]
    refresh: Option<WireToken>,
    #[serde(default)]
    sub_refresh: Option<WireChannel>,
}

#[derive(Deserialize)]
struct Empty {}

#[derive(Deserialize)]
struct WireToken {
    #[serde(default)]
    token: String,
}

#[derive(Deserialize)]
struct WireChannel {
    #[serde(default)]
    channel: String,
}

#[derive(Deserialize)]
struct WireSubscribe {
    #[serde(default)]
    channel: String,
    #[serde(default)]
    delta: String,
    #[serde(default, rename = "type")]
    kind: i32,
    #[serde(default)]
    tf: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct WirePublish<'a> {
    #[serde(default)]
    channel: String,
    #[serde(borrow, default, deserialize_with = "raw")]
    data: Option<&'a RawValue>,
    #[serde(default, rename = "type")]
    kind: i32,
}

#[derive(Deserialize)]
struct WireRpc<'a> {
    #[serde(default)]
    method: String,
    #[serde(borrow, default, deserialize_with = "raw")]
    data: Option<&'a RawValue>,
}

/// Keeps a payload of `null` apart from a missing one.
fn raw<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl WireCommand<'_> {
    /// Takes the first request object in the protocol's order.
    fn into_request(self, line: &Bytes) -> Request {
        let payload = |data: Option<&RawValue>| data.map(|raw| line.slice_ref(raw.get().as_bytes()));
        let named = |wire: WireChannel| -> NamedChannel { Channel::parse(&wire.channel) };
        let token = |wire: WireToken| Some(wire.token).filter(|token| !token.is_empty());
        if self.id == 0 {
            return if self.send.is_some() { Request::Send } else { Request::Pong };
        }
        if let Some(connect) = self.connect {
            Request::Connect { token: token(connect) }
        } else if self.ping.is_some() {
            Request::Ping
        } else if let Some(subscribe) = self.subscribe {
            Request::Subscribe(Box::new(Subscribe {
                channel: Channel::parse(&subscribe.channel),
                has_filter: subscribe.tf.is_some(),
                delta: Some(subscribe.delta).filter(|delta| !delta.is_empty()),
                is_map: subscribe.kind != 0,
            }))
        } else if let Some(unsubscribe) = self.unsubscribe {
            Request::Unsubscribe { channel: named(unsubscribe) }
        } else if let Some(publish) = self.publish {
            Request::Publish {
                channel: Channel::parse(&publish.channel),
                data: payload(publish.data),
                is_map: publish.kind != 0,
            }
        } else if let Some(presence) = self.presence {
            Request::Presence { channel: named(presence) }
        } else if let Some(stats) = self.presence_stats {
            Request::PresenceStats { channel: named(stats) }
        } else if let Some(history) = self.history {
            Request::History { channel: named(history) }
        } else if let Some(rpc) = self.rpc {
            match rpc.method.as_str() {
                "send" => Request::Direct(payload(rpc.data).as_ref().and_then(direct_message)),
                _ => Request::Rpc,
            }
        } else if self.send.is_some() {
            Request::Send
        } else if let Some(refresh) = self.refresh {
            Request::Refresh { token: token(refresh) }
        } else if let Some(sub_refresh) = self.sub_refresh {
            Request::SubRefresh { channel: named(sub_refresh) }
        } else {
            Request::Malformed
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::InvalidChannel;

    #[test]
    fn a_disconnect_is_a_push_where_the_transport_has_no_word_for_it() {
        let push = br#"{"push":{"disconnect":{"code":3001,"reason":"shutdown"}}}"#;
        assert_eq!(disconnect(Disconnect::Shutdown), push.as_slice());
    }

    fn decode(frame: &str) -> Vec<Command> {
        commands(&Bytes::copy_from_slice(frame.as_bytes())).collect()
    }

    fn channel(name: &str) -> NamedChannel {
        Channel::parse(name)
    }

    #[test]
    fn a_frame_holds_many_commands_in_order() {
        let commands = decode(
            "{\"connect\":{\"token\":\"t\",\"name\":\"js\"},\"id\":1}\n{\"subscribe\":{\"channel\":\"chat:1\",\"flag\":1},\"id\":2}\n",
        );
        let subscribe =
            Subscribe { channel: channel("chat:1"), has_filter: false, delta: None, is_map: false };
        assert_eq!(
            commands,
            [
                Command { id: 1, request: Request::Connect { token: Some("t".into()) } },
                Command { id: 2, request: Request::Subscribe(Box::new(subscribe)) },
            ]
        );
    }

    #[test]
    fn a_payload_is_passed_byte_for_byte() {
        let data = r#"{ "a" : 1.0e+0,"ü\u00fc": [ null ]  }"#;
        let commands = decode(&format!(r#"{{"id":3,"publish":{{"channel":"c","data": {data} }}}}"#));
        let expected = Request::Publish {
            channel: channel("c"),
            data: Some(Bytes::copy_from_slice(data.as_bytes())),
            is_map: false,
        };
        assert_eq!(commands, [Command { id: 3, request: expected }]);
    }

    #[test]
    fn null_is_a_payload_and_a_missing_field_is_none() {
        for (text, expected) in [(r#","data":null"#, Some(Bytes::from_static(b"null"))), ("", None)] {
            let commands = decode(&format!(r#"{{"id":3,"publish":{{"channel":"c"{text}}}}}"#));
            let publish = Request::Publish { channel: channel("c"), data: expected, is_map: false };
            assert_eq!(commands[0].request, publish);
        }
    }

    #[test]
    fn a_command_without_id_is_a_pong_whatever_it_contains() {
        assert_eq!(decode("{}")[0].request, Request::Pong);
        assert_eq!(decode(r#"{"publish":{"channel":"c"}}"#)[0].request, Request::Pong);
        assert_eq!(decode(r#"{"send":{"data":1}}"#)[0].request, Request::Send);
    }

    #[test]
    fn what_is_no_command_is_malformed_and_ends_its_frame() {
        for line in
            ["", "nonsense", "[]", "{", "1", r#"{"id":-1}"#, r#"{"id":4294967296}"#, r#"{"id":1}"#, "\u{0}"]
        {
            let commands = decode(&format!("{line}\n{{}}\n{{}}"));
            assert_eq!(commands, [Command { id: commands[0].id, request: Request::Malformed }], "{line:?}");
        }
        assert_eq!(decode("{}\n\n{}").len(), 2, "the blank line is the last that is read");
        assert_eq!(decode("")[0].request, Request::Malformed);
        assert_eq!(decode("\n")[0].request, Request::Malformed);
    }

    #[test]
    fn channel_names_are_judged_not_trusted() {
        let commands = decode(r#"{"id":1,"unsubscribe":{}}"#);
        assert_eq!(commands[0].request, Request::Unsubscribe { channel: Err(InvalidChannel::Empty) });
        let commands = decode(r##"{"id":1,"presence":{"channel":"\u0023b\u006fb"}}"##);
        assert_eq!(commands[0].request, Request::Presence { channel: channel("#bob") });
    }

    #[test]
    fn replies_are_as_the_protocol_writes_them() {
        let text = |reply_: &Reply| String::from_utf8(reply(7, reply_).to_vec()).expect("UTF-8");
        assert_eq!(text(&Reply::Publish), r#"{"id":7,"publish":{}}"#);
        assert_eq!(text(&Reply::Delivered(2)), r#"{"id":7,"rpc":{"data":{"delivered":2}}}"#);
        assert_eq!(
            text(&Reply::Error(ErrorCode::Internal)),
            r#"{"id":7,"error":{"code":100,"message":"internal server error","temporary":true}}"#
        );
        assert_eq!(
            text(&Reply::Error(ErrorCode::PermissionDenied)),
            r#"{"id":7,"error":{"code":103,"message":"permission denied"}}"#
        );
        let connected = Connected {
            client: ClientId(1),
            ttl: Some(60),
            channels: vec![channel("#bob").expect("valid")],
            ping_seconds: 25,
        };
        assert_eq!(
            text(&Reply::Connect(connected)),
            r##"{"id":7,"connect":{"client":"00000000-0000-0000-0000-000000000001","version":"Causeway 0.1.0","expires":true,"ttl":60,"subs":{"#bob":{}},"ping":25,"pong":true}}"##
        );
        assert_eq!(
            text(&Reply::Refresh { client: ClientId(1), ttl: None }),
            r#"{"id":7,"refresh":{"client":"00000000-0000-0000-0000-000000000001"}}"#
        );
    }

    #[test]
    fn a_publication_carries_who_sent_it() {
        let alice = UserId::parse("al\"ice").expect("valid");
        let info = client_info(&alice, ClientId(u128::MAX), Some(r#"{"n":1}"#));
        let push = publication("news", Publication { data: b"\"hi\"", info: &info });
        assert_eq!(
            push,
            r#"{"push":{"channel":"news","pub":{"data":"hi","info":{"user":"al\"ice","client":"ffffffff-ffff-ffff-ffff-ffffffffffff","conn_info":{"n":1}}}}}"#
        );
        assert_eq!(user_of(&info).as_deref(), Some("al\"ice"));
    }

    #[test]
    fn a_direct_message_needs_a_user_and_a_payload() {
        let parse = |text: &str| {
            decode(&format!(r#"{{"id":1,"rpc":{{"method":"send","data":{text}}}}}"#)).remove(0).request
        };
        let bob = UserId::parse("bob").expect("valid");
        let expected = DirectMessage { to: bob, data: Bytes::from_static(b"[1, 2]") };
        assert_eq!(parse(r#"{"to":"bob","data":[1, 2]}"#), Request::Direct(Some(expected)));
        for text in
            ["{}", "1", r#"{"to":"bob"}"#, r#"{"data":1}"#, r#"{"to":1,"data":1}"#, r#"{"to":"","data":1}"#]
        {
            assert_eq!(parse(text), Request::Direct(None), "{text}");
        }
        assert_eq!(decode(r#"{"id":1,"rpc":{"method":"sent","data":1}}"#)[0].request, Request::Rpc);
    }

    #[test]
    fn a_frame_of_few_commands_is_one_slice_and_the_next_command_begins_another() {
        let frame = |commands: usize| Bytes::from(vec!["{}"; commands].join("\n"));
        assert!(slices(frame(SLICE_COMMANDS)).eq([frame(SLICE_COMMANDS)]));
        let cut: Vec<Bytes> = slices(frame(SLICE_COMMANDS + 1)).collect();
        assert_eq!(cut[0].len(), frame(SLICE_COMMANDS).len() + 1, "with its newline");
        assert_eq!(cut[1..], [frame(1)]);
        let trailing = Bytes::from("{}\n".repeat(SLICE_COMMANDS));
        assert!(slices(trailing.clone()).eq([trailing.clone()]), "nothing stands behind it");
        assert!(slices(Bytes::new()).eq([Bytes::new()]), "an empty frame is a mistake, and must arrive");
    }

    proptest! {
        #[test]
        fn slices_have_the_commands_of_their_frame(
            lines in proptest::collection::vec("(\\{\\}|\\{\"id\":[1-9],\"ping\":\\{\\}\\}){1}|[a{]?", 0..100),
            trailing in "\n{0,2}",
        ) {
            let frame = Bytes::from(lines.join("\n") + &trailing);
            let whole: Vec<Command> = commands(&frame).collect();
            let mut cut = Vec::new();
            for slice in slices(frame) {
                let before = cut.len();
                cut.extend(commands(&slice));
                prop_assert!(cut.len() - before <= SLICE_COMMANDS);
                if cut.last().is_some_and(|command| command.request == Request::Malformed) {
                    break;
                }
            }
            prop_assert_eq!(cut, whole);
        }

        #[test]
        fn any_bytes_are_walked_to_the_end(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
            let lines = frame.iter().filter(|&&b| b == b'\n').count() + 1;
            prop_assert!(commands(&Bytes::from(frame)).count() <= lines);
        }
    }
}
