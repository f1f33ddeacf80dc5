//! What the system says of this process, under the names every Prometheus client uses. Linux only:
//! elsewhere these families are not there.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// Reads `/proc` at each scrape.
#[derive(Debug)]
pub(super) struct Process;

/// The clock of `/proc`, which Linux holds at 100 for programs (`USER_HZ`).
const TICKS: f64 = 100.0;

impl Process {
    /// Adds the families.
    pub fn register(registry: &mut Registry) {
        registry.register_collector(Box::new(Self));
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(seen) = Seen::now() else { return Ok(()) };
        let cpu = ConstCounter::new(seen.cpu);
        let name = "process_cpu_seconds";
        cpu.encode(encoder.encode_descriptor(name, "Processor time used", None, cpu.metric_type())?)?;
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Memory in use", seen.memory),
            ("process_open_fds", "Files and sockets open", seen.files),
            ("process_threads", "Threads", seen.threads),
            ("process_start_time_seconds", "When the process started, in seconds since 1970", seen.started),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

struct Seen {
    cpu: f64,
    memory: f64,
    files: f64,
    threads: f64,
    started: f64,
}

impl Seen {
    fn now() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // the second field is the program's name, in brackets; the third is the first here
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let system = std::fs::read_to_string("/proc/stat").ok()?;
        let booted: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let resident: f64 = resident.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(Self {
            cpu: (field(14)? + field(15)?) / TICKS,
            memory: resident * 1024.0,
            files: f64::from(u32::try_from(std::fs::read_dir("/proc/self/fd").ok()?.count()).ok()?),
            threads: field(20)?,
            started: booted + field(22)? / TICKS,
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_sees_itself() {
        let seen = Seen::now().expect("/proc");
        assert!(seen.memory > 1e6 && seen.files >= 3.0 && seen.threads >= 1.0 && seen.cpu >= 0.0);
        assert!(seen.started > 1.6e9, "{}", seen.started);
    }
}
