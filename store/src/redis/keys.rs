//! The names of our keys. A command or script names keys of one slot only: of one pair of braces.

use proto::id::{Channel, EdgeId};
use redis::{Arg, Cmd};

/// Makes keys under a prefix.
///
/// A channel's name may have braces itself: such a key is hashed by its first pair, or whole, which is as good.
#[derive(Debug)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: String) -> Self {
        Self { prefix }
    }

    /// Set: the ids of edges that hold `channel`.
    pub(crate) fn route(&self, channel: &Channel) -> String {
        format!("{}route:{{{channel}}}", self.prefix)
    }

    /// What `SCAN` has to match to find every [`Self::route`].
    pub(crate) fn route_pattern(&self) -> String {
        format!("{}route:{{*", self.prefix)
    }

    /// Hash: what is known of `edge`; the fence of its routes.
    pub(crate) fn edge(&self, edge: &EdgeId) -> String {
        format!("{}edge:{{{edge}}}", self.prefix)
    }

    /// Set: the channels that `edge` holds.
    pub(crate) fn index(&self, edge: &EdgeId) -> String {
        format!("{}edge:{{{edge}}}:routes", self.prefix)
    }

    /// Sorted set: the leases.
    pub(crate) fn edges(&self) -> String {
        format!("{}{{edges}}", self.prefix)
    }

    /// Set: ids whose lease was ended and whose index is not yet walked to its end.
    pub(crate) fn ended(&self) -> String {
        format!("{}{{edges}}:ended", self.prefix)
    }

    /// There when the store knows the cluster.
    pub(crate) fn settled(&self) -> String {
        format!("{}{{edges}}:settled", self.prefix)
    }
}

/// The first key of `command`: its first argument, or that of a script.
pub(crate) fn key_of(command: &Cmd) -> String {
    let mut arguments = command.args_iter().filter_map(|argument| match argument {
        Arg::Simple(bytes) => Some(String::from_utf8_lossy(bytes)),
        _ => None,
    });
    let name = arguments.next().unwrap_or_default();
    let place = if name == "EVAL" { 2 } else { 0 };
    arguments.nth(place).unwrap_or_default().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_documented_ones() {
        let keys = Keys::new("cw:".to_owned());
        let edge: EdgeId = "edge-1.7".parse().expect("valid");
        let route = |name: &str| keys.route(&Channel::parse(name).expect("valid"));
        assert_eq!(route("news"), "cw:route:{news}");
        assert_eq!(route("#jürgen"), "cw:route:{#jürgen}");
        assert_eq!(route("a{b}c"), "cw:route:{a{b}c}");
        assert_eq!(keys.edge(&edge), "cw:edge:{edge-1.7}");
        assert_eq!(keys.index(&edge), "cw:edge:{edge-1.7}:routes");
        assert_eq!(keys.edges(), "cw:{edges}");
        assert_eq!(keys.ended(), "cw:{edges}:ended");
        assert_eq!(keys.settled(), "cw:{edges}:settled");
    }

    #[test]
    fn a_command_tells_its_key() {
        assert_eq!(key_of(redis::cmd("SADD").arg("a").arg("b")), "a");
        assert_eq!(key_of(redis::cmd("EVAL").arg("return 1").arg(2).arg("a").arg("b")), "a");
        assert_eq!(key_of(&redis::cmd("EXEC")), "");
    }
}
