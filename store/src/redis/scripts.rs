//! What has to happen in one step, in Redis's own language.
//!
//! Scripts go along with every call (`EVAL`): they are shorter than one channel's name may be, and a Redis that was
//! restarted, or forgot its scripts, needs no second try.

/// `KEYS`: an edge's hash, its index. `ARGV`: its number of clients, channels. Answers 1, or 0 without a hash, when
/// nothing is written: so nothing enters an index that a reaper walks, or has walked.
pub(crate) const JOIN: &str = "\
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'clients', ARGV[1])
for i = 2, #ARGV do redis.call('SADD', KEYS[2], ARGV[i]) end
return 1";

/// `KEYS`: the leases, the ended. `ARGV`: an edge, the score that was watched. Answers whether it ended the lease.
pub(crate) const END_LEASE: &str = "\
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then return 0 end
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[1], ARGV[1])
return 1";

/// `KEYS`: an edge's hash. Deletes it, unless it is something else's.
pub(crate) const FENCE: &str = "\
if redis.call('TYPE', KEYS[1]).ok == 'hash' then redis.call('DEL', KEYS[1]) end
return 1";
