//! What a process has used of the machine, as Linux tells in `/proc`.

use std::fs;
use std::time::Duration;

/// Of one process, from its start until now.
#[derive(Debug, Clone, Copy)]
pub struct Consumption {
    /// Time on a CPU, all threads together.
    pub cpu: Duration,
    /// The most memory that it ever had.
    pub peak_bytes: u64,
}

impl Consumption {
    /// That of a process of this machine; `None` once it has ended, and on systems other than Linux.
    #[must_use]
    pub fn of(id: u32) -> Option<Self> {
        let file = |name: &str| fs::read_to_string(format!("/proc/{id}/{name}")).ok();
        Some(Self { cpu: cpu(&file("stat")?)?, peak_bytes: peak_bytes(&file("status")?)? })
    }
}

/// `proc_pid_stat(5)`: the 14th and 15th field, in ticks; the second one is a name in parentheses.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut ticks = rest.split(' ').skip(11).take(2).map(str::parse::<u64>);
    let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    Some(Duration::from_millis((user + system) * 1000 / rustix::param::clock_ticks_per_second()))
}

/// `proc_pid_status(5)`: the peak resident set size.
fn peak_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_stat_with_parentheses_in_the_name_is_read() {
        let ticks = rustix::param::clock_ticks_per_second();
        let stat = format!("7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 {ticks} {} 0 0 20 0 3 0", 2 * ticks);
        assert_eq!(cpu(&stat), Some(Duration::from_secs(3)));
        assert_eq!(peak_bytes("Name:\ta\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"), Some(2048 * 1024));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn consumption_of_this_process_is_not_zero() {
        let consumption = Consumption::of(std::process::id()).unwrap();
        assert!(consumption.peak_bytes > 100_000, "{consumption:?}");
    }
}
