//! Reads answers of Redis. What has another shape than asked for was written by somebody else, and is skipped.

use std::str::FromStr;

use proto::id::{Channel, EdgeId};
use redis::Value;

/// The members of a set that are texts which `parse` takes.
fn members<T>(reply: Value, parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
    items(reply).iter().filter_map(text).filter_map(parse).collect()
}

/// The edges in a set.
pub(crate) fn edges(reply: Value) -> Vec<EdgeId> {
    members(reply, |member| EdgeId::from_str(member).ok())
}

/// The channels in a set.
pub(crate) fn channels(reply: Value) -> Vec<Channel> {
    members(reply, |member| Channel::parse(member).ok())
}

/// A scan's cursor and what came with it.
pub(crate) fn page(reply: Value) -> (u64, Value) {
    let mut parts = items(reply).into_iter();
    let cursor = parts.next().as_ref().and_then(text).and_then(|cursor| cursor.parse().ok());
    (cursor.unwrap_or(0), parts.next().unwrap_or(Value::Nil))
}

/// The parts of an array.
pub(crate) fn items(reply: Value) -> Vec<Value> {
    match reply {
        Value::Array(items) | Value::Set(items) => items,
        _ => Vec::new(),
    }
}

/// A text, if it is one.
pub(crate) fn text(reply: &Value) -> Option<&str> {
    match reply {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// A number; 0 where there is none.
pub(crate) fn number(reply: &Value) -> u64 {
    match reply {
        Value::Int(number) => u64::try_from(*number).unwrap_or(0),
        _ => 0,
    }
}
