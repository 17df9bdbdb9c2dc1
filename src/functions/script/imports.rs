//! What the JavaScript engine imports: host calls, the log, the environment, a clock and random numbers.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use wasmtime::{AsContextMut, Caller, Engine, Linker};

use super::operations;
use crate::functions::host_call::{Host, LogLevel};
use crate::functions::wasm::memory::MemoryLimiter;
use crate::functions::wasm::ticker::ticks;

/// The most host calls of one call that have begun and not ended. More end the call: a function that begins calls
/// without waiting for any would otherwise fill the server's memory.
const UNDER_WAY: usize = 1_000;

/// The most random bytes that are read at once.
const RANDOM_BYTES: usize = 65_536;

/// WASI's number of a call without error.
const SUCCESS: i32 = 0;
/// WASI's number of a file that is not open.
const BAD_FILE: i32 = 8;
/// WASI's number of an invalid argument.
const INVALID: i32 = 28;

/// A host call that has ended: its id, the size of its arguments, and its result.
type Ended = (i32, usize, Result<Vec<u8>, Vec<u8>>);

/// The state of one instance.
pub(super) struct GuestState {
    pub(super) host: Option<Arc<dyn Host>>,
    pub(super) memory: MemoryLimiter,
    /// The CPU time of the call so far, in ticks.
    pub(super) ticks: u32,
    /// The CPU time that the call may use, in ticks.
    pub(super) budget: u32,
    under_way: FuturesUnordered<Pin<Box<dyn Future<Output = Ended> + Send>>>,
    /// The size of the arguments of the host calls that are under way.
    under_way_bytes: usize,
    last_id: i32,
    /// The answer that the next `take` copies.
    answer: Vec<u8>,
    /// Whether the answer is an error.
    is_error: bool,
}

impl std::fmt::Debug for GuestState {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("GuestState").field("ticks", &self.ticks).finish_non_exhaustive()
    }
}

impl GuestState {
    pub(super) fn new(memory: MemoryLimiter) -> Self {
        Self {
            host: None,
            memory,
            ticks: 0,
            budget: 0,
            under_way: FuturesUnordered::new(),
            under_way_bytes: 0,
            last_id: 0,
            answer: Vec::new(),
            is_error: false,
        }
    }

    /// Prepares a call.
    pub(super) fn begin(&mut self, memory_bytes: usize, cpu: Duration) {
        self.memory.begin(memory_bytes);
        self.ticks = 0;
        self.budget = ticks(cpu);
    }

    /// Ends a call: drops its host, and its host calls that still run.
    pub(super) fn end(&mut self) {
        self.host = None;
        self.under_way.clear();
        self.under_way_bytes = 0;
        self.answer = Vec::new();
    }
}

/// Returns a linker with all imports of the engine.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap("parlor", "begin", begin)?;
    linker.func_wrap_async("parlor", "wait", |caller, (): ()| Box::new(wait(caller)))?;
    linker.func_wrap("parlor", "answer_len", |caller: Caller<'_, GuestState>| {
        let state = caller.data();
        let len = i32::try_from(state.answer.len()).unwrap_or(i32::MAX - 1);
        if state.is_error { -len - 1 } else { len }
    })?;
    linker.func_wrap("parlor", "take", |mut caller: Caller<'_, GuestState>, to: u32| {
        let answer = std::mem::take(&mut caller.data_mut().answer);
        write(&mut caller, to, &answer)
    })?;
    linker.func_wrap("parlor", "log", log)?;
    linker.func_wrap("parlor", "env", env)?;
    linker.func_wrap("wasi_snapshot_preview1", "clock_time_get", clock)?;
    linker.func_wrap("wasi_snapshot_preview1", "random_get", random)?;
    // The C library would write to files, of which there are none.
    let wasi = "wasi_snapshot_preview1";
    linker.func_wrap(wasi, "fd_close", |_: i32| BAD_FILE)?;
    linker.func_wrap(wasi, "fd_fdstat_get", |_: i32, _: i32| BAD_FILE)?;
    linker.func_wrap(wasi, "fd_seek", |_: i32, _: i64, _: i32, _: i32| BAD_FILE)?;
    linker.func_wrap(wasi, "fd_write", |_: i32, _: i32, _: i32, _: i32| BAD_FILE)?;
    Ok(linker)
}

fn begin(
    mut caller: Caller<'_, GuestState>,
    name: u32,
    name_len: u32,
    json: u32,
    json_len: u32,
) -> wasmtime::Result<i32> {
    let (name, json) = (text(&mut caller, name, name_len)?, text(&mut caller, json, json_len)?);
    let state = caller.data_mut();
    if state.under_way.len() >= UNDER_WAY {
        wasmtime::bail!("more than {UNDER_WAY} host calls at once");
    }
    // The server holds the arguments beside the memory of the function. Together they may be as large as that memory.
    let bytes = name.len() + json.len();
    state.under_way_bytes += bytes;
    if state.under_way_bytes > state.memory.most() {
        wasmtime::bail!("the arguments of the host calls under way are larger than the memory of a call");
    }
    let Some(host) = state.host.clone() else { wasmtime::bail!("a host call outside of a call") };
    state.last_id = state.last_id.wrapping_add(1).max(1);
    let id = state.last_id;
    state.under_way.push(Box::pin(async move { (id, bytes, operations::run(&*host, &name, &json).await) }));
    Ok(id)
}

/// Waits until a host call has ended. Returns its id, or 0 if none is under way.
async fn wait(mut caller: Caller<'_, GuestState>) -> i32 {
    let ended = caller.data_mut().under_way.next().await;
    // The epoch has advanced while the call waited, and a wait is no CPU time.
    caller.as_context_mut().set_epoch_deadline(1);
    let Some((id, bytes, answer)) = ended else { return 0 };
    let state = caller.data_mut();
    state.under_way_bytes = state.under_way_bytes.saturating_sub(bytes);
    state.is_error = answer.is_err();
    state.answer = answer.unwrap_or_else(|error| error);
    id
}

fn log(mut caller: Caller<'_, GuestState>, level: u32, at: u32, len: u32) -> wasmtime::Result<()> {
    let text = text(&mut caller, at, len)?;
    let level = match level {
        0 => LogLevel::Debug,
        1 => LogLevel::Info,
        2 => LogLevel::Warn,
        _ => LogLevel::Error,
    };
    if let Some(host) = &caller.data().host {
        host.log(level, &text);
    }
    Ok(())
}

fn env(mut caller: Caller<'_, GuestState>, at: u32, len: u32) -> wasmtime::Result<i32> {
    let name = text(&mut caller, at, len)?;
    let state = caller.data_mut();
    let value = state.host.as_ref().and_then(|host| host.env(&name)).map(|value| value.as_bytes().to_vec());
    let Some(value) = value else { return Ok(-1) };
    let len = i32::try_from(value.len())?;
    state.answer = value;
    state.is_error = false;
    Ok(len)
}

fn clock(mut caller: Caller<'_, GuestState>, _: i32, _: i64, to: u32) -> wasmtime::Result<i32> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    write(&mut caller, to, &nanos.to_le_bytes())?;
    Ok(SUCCESS)
}

fn random(mut caller: Caller<'_, GuestState>, to: u32, len: u32) -> wasmtime::Result<i32> {
    let len = len as usize;
    if len > RANDOM_BYTES {
        return Ok(INVALID);
    }
    let mut bytes = vec![0; len];
    rand::fill(&mut bytes).map_err(|_| wasmtime::format_err!("the system gave no random bytes"))?;
    write(&mut caller, to, &bytes)?;
    Ok(SUCCESS)
}

/// Returns a text of the instance. Bytes that are not UTF-8 are replaced.
fn text(caller: &mut Caller<'_, GuestState>, at: u32, len: u32) -> wasmtime::Result<String> {
    let memory = memory(caller)?;
    let (at, len) = (at as usize, len as usize);
    let bytes = memory.data(&*caller).get(at..at.saturating_add(len));
    let bytes = bytes.ok_or_else(|| wasmtime::format_err!("a text is out of range"))?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn write(caller: &mut Caller<'_, GuestState>, to: u32, bytes: &[u8]) -> wasmtime::Result<()> {
    let memory = memory(caller)?;
    Ok(memory.write(caller, to as usize, bytes)?)
}

fn memory(caller: &mut Caller<'_, GuestState>) -> wasmtime::Result<wasmtime::Memory> {
    let memory = caller.get_export("memory").and_then(wasmtime::Extern::into_memory);
    memory.ok_or_else(|| wasmtime::format_err!("the engine exports no memory"))
}
