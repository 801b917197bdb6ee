//! Which commands do not go over HTTP.
//!
//! All clients share a few connections to Redis, so whatever would block one, change its state or end it is refused;
//! so is whatever administers the server, since a token is meant for data.

use crate::auth::Access;
use crate::backend::Capabilities;
use crate::command::Command;

/// Refused whatever their arguments, in alphabetical order.
const REFUSED: [&str; 54] = [
    "ACL",
    "ASKING",
    "AUTH",
    "BGREWRITEAOF",
    "BGSAVE",
    "BLMOVE",
    "BLMPOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BZMPOP",
    "BZPOPMAX",
    "BZPOPMIN",
    "CLIENT",
    "CLUSTER",
    "CONFIG",
    "DEBUG",
    "DISCARD",
    "EXEC",
    "FAILOVER",
    "HELLO",
    "HOST:",
    "LATENCY",
    "MIGRATE",
    "MODULE",
    "MONITOR",
    "MOVE",
    "MULTI",
    "PFDEBUG",
    "PFSELFTEST",
    "POST",
    "PSUBSCRIBE",
    "PSYNC",
    "PUNSUBSCRIBE",
    "QUIT",
    "READONLY",
    "READWRITE",
    "REPLCONF",
    "REPLICAOF",
    "RESET",
    "SAVE",
    "SELECT",
    "SHUTDOWN",
    "SLAVEOF",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SUNSUBSCRIBE",
    "SWAPDB",
    "SYNC",
    "UNSUBSCRIBE",
    "UNWATCH",
    "WAIT",
    "WAITAOF",
    "WATCH",
];

/// Whether the bearer of a token may send this command; `Err` is the message to answer with.
pub(crate) fn check(command: &Command, access: Access, server: &Capabilities) -> Result<(), String> {
    let name = command.name();
    if REFUSED.binary_search(&name.as_str()).is_ok() || blocks(&name, command) || debugs(&name, command) {
        return Err(format!(
            "ERR Command is not available: '{name}'. See https://upstash.com/docs/redis/overall/rediscompatibility for details"
        ));
    }
    match access {
        Access::Full => Ok(()),
        Access::ReadOnly if may_read(&name, server) => Ok(()),
        Access::ReadOnly => Err(format!(
            "NOPERM this user has no permissions to run the '{}' command or its subcommand",
            name.to_lowercase()
        )),
    }
}

/// The two stream readers block only when asked to.
fn blocks(name: &str, command: &Command) -> bool {
    matches!(name, "XREAD" | "XREADGROUP")
        && (0..command.args().len())
            .take_while(|i| !command.arg_is(*i, "STREAMS"))
            .any(|i| command.arg_is(i, "BLOCK"))
}

/// The Lua debugger takes over its connection.
fn debugs(name: &str, command: &Command) -> bool {
    name == "SCRIPT" && command.arg_is(0, "DEBUG")
}

fn may_read(name: &str, server: &Capabilities) -> bool {
    match name {
        "PING" | "ECHO" | "DIGEST" => true,
        // Walks the whole key space, as KEYS does, which Redis itself calls dangerous.
        "SCAN" => false,
        _ => server.reads_only(name) && !server.is_dangerous(name),
    }
}

#[cfg(test)]
mod tests {
    use super::REFUSED;

    #[test]
    fn the_list_of_refused_commands_is_sorted_as_its_search_requires() {
        assert!(REFUSED.is_sorted());
    }
}
