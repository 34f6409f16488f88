//! Metrics that are true of any process, and the registry in which a service puts its own.

#[cfg(target_os = "linux")]
mod process;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, IntCounter, IntGauge, Opts, Registry};
use tokio::runtime::{Handle, RuntimeMetrics};

use crate::readiness::Readiness;
use crate::trace;

/// A registry with CPU, memory, descriptors, the async runtime, spans, and which build this is. To be called within the runtime.
pub fn registry(service: &str, version: &str, pod: &str) -> anyhow::Result<Registry> {
    let registry = Registry::new();
    #[cfg(target_os = "linux")]
    registry.register(Box::new(process::Process::of_this()))?;
    let build = IntGauge::with_opts(
        Opts::new("parley_build_info", "Always 1; which build of which service this is.")
            .const_label("service", service)
            .const_label("version", version)
            .const_label("pod", pod),
    )?;
    build.set(1);
    registry.register(Box::new(build))?;
    registry.register(Box::new(Runtime::new(Handle::current().metrics())?))?;
    registry.register(Box::new(trace::exported_spans()?))?;
    Ok(registry)
}

/// Tells whether the pod wants traffic.
pub(crate) fn register_readiness(
    registry: &Registry,
    readiness: Readiness,
) -> Result<(), prometheus::Error> {
    let ready =
        IntGauge::new("parley_ready", "1 while the pod wants traffic, as /readyz says it.")?;
    registry.register(Box::new(Ready { readiness, ready }))
}

struct Ready {
    readiness: Readiness,
    ready: IntGauge,
}

impl Collector for Ready {
    fn desc(&self) -> Vec<&Desc> {
        self.ready.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.ready.set(i64::from(self.readiness.missing().is_empty()));
        self.ready.collect()
    }
}

/// What the async runtime counts anyway, read when it is asked for.
struct Runtime {
    handle: RuntimeMetrics,
    workers: IntGauge,
    tasks: IntGauge,
    queue: IntGauge,
    busy: Counter,
    parks: IntCounter,
}

impl Runtime {
    fn new(runtime: RuntimeMetrics) -> Result<Self, prometheus::Error> {
        Ok(Self {
            handle: runtime,
            workers: IntGauge::new(
                "parley_runtime_workers",
                "Threads that run the tasks of this process.",
            )?,
            tasks: IntGauge::new("parley_runtime_tasks", "Tasks that have not ended.")?,
            queue: IntGauge::new(
                "parley_runtime_queued_tasks",
                "Tasks that could go on and wait for a worker, in the queue that all workers share.",
            )?,
            busy: Counter::new(
                "parley_runtime_busy_seconds_total",
                "Time that workers were at work, all together; as many seconds a second as there are workers is saturation.",
            )?,
            parks: IntCounter::new(
                "parley_runtime_parks_total",
                "Times that a worker had nothing to do and slept.",
            )?,
        })
    }

    fn families(&self) -> [&dyn Collector; 5] {
        [&self.workers, &self.tasks, &self.queue, &self.busy, &self.parks]
    }

    fn read(&self) {
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let runtime = &self.handle;
        self.workers.set(gauge(runtime.num_workers()));
        self.tasks.set(gauge(runtime.num_alive_tasks()));
        self.queue.set(gauge(runtime.global_queue_depth()));
        let (mut busy, mut parks) = (0.0, 0);
        for worker in 0..runtime.num_workers() {
            busy += runtime.worker_total_busy_duration(worker).as_secs_f64();
            parks += runtime.worker_park_count(worker);
        }
        self.busy.inc_by((busy - self.busy.get()).max(0.0));
        self.parks.inc_by(parks.saturating_sub(self.parks.get()));
    }
}

impl Collector for Runtime {
    fn desc(&self) -> Vec<&Desc> {
        self.families().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        self.families().into_iter().flat_map(Collector::collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(registry: &Registry, name: &str) -> f64 {
        let families = registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let metric = &family.get_metric()[0];
        metric.get_gauge().get_value() + metric.get_counter().get_value()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_runtime_tells_of_its_workers_and_tasks() {
        let registry = registry("test", "1.0.0", "pod-1").unwrap();
        assert!((value(&registry, "parley_runtime_workers") - 2.0).abs() < f64::EPSILON);
        let before = value(&registry, "parley_runtime_tasks");
        let task = tokio::spawn(std::future::pending::<()>());
        assert!(value(&registry, "parley_runtime_tasks") > before);
        task.abort();
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_part_of_a_second_of_work_shows() {
        let registry = registry("test", "1.0.0", "pod-1").unwrap();
        let seconds = || value(&registry, "process_cpu_seconds_total");
        let before = seconds();
        let begun = std::time::Instant::now();
        while seconds() - before < 0.02 {
            assert!(begun.elapsed().as_secs() < 30, "no CPU time in 30 s of work");
        }
        assert!(seconds() - before < 0.5);
    }

    #[tokio::test]
    async fn a_pod_that_is_not_ready_says_so() {
        let (registry, readiness) = (Registry::new(), Readiness::default());
        register_readiness(&registry, readiness.clone()).unwrap();
        let bus = readiness.condition("nats");
        assert!(value(&registry, "parley_ready") < 0.5);
        bus.set(true);
        assert!(value(&registry, "parley_ready") > 0.5);
    }
}
