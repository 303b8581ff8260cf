//! The resources that a process has used, as Linux counts them under /proc.

use anyhow::Context;

/// Memory of a process, in mebibytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// Resident now (`VmRSS`).
    pub rss_mb: f64,
    /// The most that ever was (`VmHWM`).
    pub peak_mb: f64,
}

/// The memory of a process.
///
/// # Errors
/// There is no such process, or this is not Linux.
pub fn memory(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{path} cannot be read: memory is measured on Linux only"))?;
    let mb = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kb: Option<f64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kb.map(|kb| kb / 1_024.0).with_context(|| format!("{path} has no {key}"))
    };
    Ok(Memory { rss_mb: mb("VmRSS")?, peak_mb: mb("VmHWM")? })
}

/// The time that all threads of a process have run, in nanoseconds. A thread that has ended takes its time with it, and so a
/// difference is right only while the threads stay, as a runtime's workers and a pool's connections do.
///
/// # Errors
/// There is no such process, or this is not Linux.
pub fn cpu_ns(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/task");
    let tasks = std::fs::read_dir(&path)
        .with_context(|| format!("{path} cannot be read: CPU time is measured on Linux only"))?;
    let mut sum = 0;
    for task in tasks {
        // A thread may end between being listed and being read.
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum +=
            text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_has_run() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.rss_mb > 1.0 && memory.peak_mb >= memory.rss_mb, "{memory:?}");
        assert!(cpu_ns(std::process::id()).unwrap() > 0);
    }
}
