//! Open files: the soft limit raised to the hard one, and whether the clients that are wanted fit under it.
//!
//! Every process calls [`raise`] before it opens anything; whoever is given a number of clients calls [`check`]. A limit
//! that is too low would otherwise be found out by the client that nobody can accept any more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::admin;
use crate::config::{ConfigError, Loaded};

/// Files of an edge that are nobody's connection. It has 18 without a relay and some ten more with link and store; twice
/// that is for what overlaps: a store's connection and its successor, a name that is looked up, a terminal that is refused.
const OWN: u64 = 64;

/// Raises the soft limit to the hard one, which nobody but root can raise.
///
/// # Errors
/// The system does not let us, and the soft limit stays.
pub fn raise() -> std::io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return Ok(());
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

/// Refuses `max_clients` where not every client could have an open file, in a process of `edges` edges, of each of
/// which up to `half_open` connections are no client yet.
///
/// # Errors
/// The operator must raise the hard limit or let in fewer clients; the error says how many would fit.
pub fn check<T>(
    loaded: &Loaded<T>,
    edges: u64,
    max_clients: u32,
    half_open: usize,
) -> Result<(), ConfigError> {
    let reserved = half_open as u64 + admin::CONNECTIONS_MAX as u64 + OWN;
    match getrlimit(Resource::Nofile).maximum {
        Some(limit) => refusal(limit, edges, max_clients.into(), reserved)
            .map_or(Ok(()), |reason| Err(loaded.refuse("max_clients", &reason))),
        None => Ok(()),
    }
}

fn refusal(limit: u64, edges: u64, max_clients: u64, reserved: u64) -> Option<String> {
    let needed = edges * (max_clients + reserved);
    if needed <= limit {
        return None;
    }
    let (clients, each) = if edges == 1 {
        (format!("{max_clients} clients"), "")
    } else {
        (format!("{max_clients} clients on each of {edges} edges"), " each")
    };
    let fitting = match (limit / edges).saturating_sub(reserved) {
        0 => format!("the first one alone needs {}", edges * (1 + reserved)),
        fitting => format!("at most {fitting}{each} fit"),
    };
    Some(format!("{clients} need {needed} open files, the limit (ulimit -Hn) is {limit}; {fitting}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_clients_as_fit_are_let_in_and_one_more_is_refused_with_the_figure_that_fits() {
        assert_eq!(refusal(20_000, 1, 18_900, 1_100), None);
        assert_eq!(
            refusal(20_000, 1, 18_901, 1_100).as_deref(),
            Some("18901 clients need 20001 open files, the limit (ulimit -Hn) is 20000; at most 18900 fit")
        );
    }

    #[test]
    fn edges_of_one_process_share_its_limit() {
        assert_eq!(refusal(20_001, 2, 8_900, 1_100), None);
        assert_eq!(
            refusal(20_001, 2, 8_901, 1_100).as_deref(),
            Some(
                "8901 clients on each of 2 edges need 20002 open files, the limit (ulimit -Hn) is 20001; \
                 at most 8900 each fit"
            )
        );
    }

    #[test]
    fn a_limit_under_which_nobody_fits_is_told_with_the_least_that_would_do() {
        for limit in [0, 1_099, 1_100] {
            let reason = refusal(limit, 1, 500, 1_100).expect("nobody fits");

            assert!(reason.ends_with("the first one alone needs 1101"), "{reason}");
        }
        assert_eq!(refusal(1_101, 1, 1, 1_100), None);
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        raise().expect("nothing forbids it");

        let limit = getrlimit(Resource::Nofile);

        assert_eq!(limit.current, limit.maximum);
    }
}
