//! CPU, memory and descriptors of this process.

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Counter, MetricFamily};

const CPU: &str = "process_cpu_seconds_total";
/// In which Linux tells times to programs, whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// The library's collector, which rounds CPU time down to whole seconds: a pod that uses a hundredth of a core would stand
/// still for most scrapes, and then leap.
pub(super) struct Process(ProcessCollector);

impl Process {
    pub(super) fn of_this() -> Self {
        Self(ProcessCollector::for_self())
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.0.collect();
        if let Some(seconds) = cpu_seconds()
            && let Some(family) = families.iter_mut().find(|family| family.name() == CPU)
        {
            for metric in family.mut_metric() {
                let mut counter = Counter::default();
                counter.set_value(seconds);
                metric.set_counter(counter);
            }
        }
        families
    }
}

/// Time in user and in kernel mode, the 14th and 15th field. The second one is the program's name in parentheses, and may
/// hold anything.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}
