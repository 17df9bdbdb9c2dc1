//! Metrics of functions that are files. The label `function` is the name of the file without its ending.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::Metrics;
use super::register::{register, register_seconds};

type Seconds = Counter<f64, std::sync::atomic::AtomicU64>;

/// The counters of all functions.
#[derive(Debug)]
pub(super) struct FunctionCounters {
    calls: Family<CallLabels, Counter>,
    seconds: Family<ExportLabels, Histogram, fn() -> Histogram>,
    cpu: Family<FunctionLabel, Seconds>,
    memory: Family<FunctionLabel, Gauge>,
    instances: Family<StateLabel, Gauge>,
    made: Family<FunctionLabel, Counter>,
    all_memory: Gauge,
    fetches: Family<OutcomeLabels, Counter>,
    state: Family<OutcomeLabels, Counter>,
    loads: Family<OutcomeLabels, Counter>,
    info: Family<InfoLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FunctionLabel {
    function: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExportLabels {
    function: Arc<str>,
    export: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    function: Arc<str>,
    export: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    function: Arc<str>,
    outcome: &'static str,
}

/// The version of a function that runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InfoLabels {
    function: Arc<str>,
    version: String,
    kind: &'static str,
    source: &'static str,
}

/// Returns a histogram of durations from 10 us to 10 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_01, 2.0, 21))
}

impl FunctionCounters {
    pub(super) fn registered(all: &mut Registry) -> Self {
        let durations = Family::new_with_constructor(seconds as fn() -> Histogram);
        Self {
            calls: register(
                all,
                "function_calls",
                "Calls of function files, by export and outcome",
                Family::default(),
            ),
            seconds: register_seconds(
                all,
                "function_call_duration",
                "Duration of a call of a function file, with its waits",
                durations,
            ),
            cpu: register_seconds(
                all,
                "function_cpu",
                "CPU time that function files have used, in whole ms for each call",
                Family::default(),
            ),
            memory: register(
                all,
                "function_memory_bytes",
                "The most memory that a call of a function file had since the start",
                Family::default(),
            ),
            instances: register(
                all,
                "function_instances",
                "Instances of function files: busy, or idle",
                Family::default(),
            ),
            made: register(
                all,
                "function_instances_made",
                "Instances of function files that were made for a call",
                Family::default(),
            ),
            all_memory: register(
                all,
                "function_total_memory_bytes",
                "Memory of all instances of function files",
                Gauge::default(),
            ),
            fetches: register(
                all,
                "function_fetches",
                "Requests of function files, by outcome",
                Family::default(),
            ),
            state: register(
                all,
                "function_state_operations",
                "Operations of function files on their stored values, by outcome",
                Family::default(),
            ),
            loads: register(
                all,
                "function_loads",
                "Loads of function files: ok, or refused",
                Family::default(),
            ),
            info: register(
                all,
                "function_info",
                "1 for the version of a function file that runs",
                Family::default(),
            ),
        }
    }
}

/// Counts a running call of a function until this value is dropped.
#[derive(Debug)]
pub(crate) struct BusyInstance(Gauge);

impl Drop for BusyInstance {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Counts a call that runs.
    pub(crate) fn function_begins(&self) -> BusyInstance {
        let busy = self.functions.instances.get_or_create(&StateLabel { state: "busy" }).clone();
        busy.inc();
        BusyInstance(busy)
    }

    /// Counts a call that has ended, by its outcome.
    pub(crate) fn function_called(
        &self,
        function: &Arc<str>,
        export: &'static str,
        outcome: &'static str,
        took: Duration,
    ) {
        let functions = &self.functions;
        functions.calls.get_or_create(&CallLabels { function: function.clone(), export, outcome }).inc();
        let labels = ExportLabels { function: function.clone(), export };
        functions.seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts the CPU time and the memory of a call.
    pub(crate) fn function_used(
        &self,
        function: &Arc<str>,
        cpu: Duration,
        memory_bytes: usize,
        is_new: bool,
    ) {
        let (functions, label) = (&self.functions, FunctionLabel { function: function.clone() });
        if !cpu.is_zero() {
            functions.cpu.get_or_create(&label).inc_by(cpu.as_secs_f64());
        }
        let bytes = i64::try_from(memory_bytes).unwrap_or(i64::MAX);
        let memory = functions.memory.get_or_create(&label);
        memory.inner().fetch_max(bytes, std::sync::atomic::Ordering::Relaxed);
        drop(memory);
        if is_new {
            functions.made.get_or_create(&label).inc();
        }
    }

    /// Sets the number of idle instances and the memory of all instances.
    pub(crate) fn function_instances(&self, idle: usize, memory_bytes: usize) {
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.functions.instances.get_or_create(&StateLabel { state: "idle" }).set(whole(idle));
        self.functions.all_memory.set(whole(memory_bytes));
    }

    /// Counts a request of a function.
    pub(crate) fn function_fetched(&self, function: &Arc<str>, outcome: &'static str) {
        self.functions.fetches.get_or_create(&OutcomeLabels { function: function.clone(), outcome }).inc();
    }

    /// Counts an operation of a function on its stored values.
    pub(crate) fn function_state(&self, function: &Arc<str>, outcome: &'static str) {
        self.functions.state.get_or_create(&OutcomeLabels { function: function.clone(), outcome }).inc();
    }

    /// Counts a load of a file.
    pub(crate) fn function_loaded(&self, function: &Arc<str>, is_ok: bool) {
        for (outcome, count) in [("ok", u64::from(is_ok)), ("refused", u64::from(!is_ok))] {
            // Both counters exist from the first load on, so that an alert sees the first rise.
            let labels = OutcomeLabels { function: function.clone(), outcome };
            self.functions.loads.get_or_create(&labels).inc_by(count);
        }
    }

    /// Sets which version of a function runs, or removes a version that no longer runs.
    pub(crate) fn function_runs(
        &self,
        function: &Arc<str>,
        version: &str,
        kind: &'static str,
        source: &'static str,
        runs: bool,
    ) {
        let labels = InfoLabels { function: function.clone(), version: version.to_owned(), kind, source };
        if runs {
            self.functions.info.get_or_create(&labels).set(1);
        } else {
            self.functions.info.remove(&labels);
        }
    }
}
