//! One instance of the JavaScript engine, with one file loaded.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Instance, InstancePre, Memory, Store, TypedFunc, UpdateDeadline};

use super::imports::GuestState;
use super::source::{Image, ScriptSource};
use crate::functions::call::{Export, ProgramCall, ProgramError, ProgramLimits};
use crate::functions::host_call::Host;
use crate::functions::wasm::memory::{MemoryBudget, MemoryLimiter, MemoryRefusal};
use crate::functions::wasm::ticker::TICK;
use crate::functions::wasm::trap::{self, CpuUsedUp};

/// The size of a WebAssembly page, in bytes.
const PAGE: usize = 65_536;

/// Free memory that the image contains. Without it, each call would first have to grow its memory, and an instance
/// whose memory has grown can't be used again.
const RESERVE: u32 = 32_768;

/// The size of the engine's stack in its memory, in bytes: `stack-size` of `quickjs/build.sh`. The memory begins with
/// the stack. It is so large that WebAssembly's own stack ends first, and almost no page of it is ever used.
const STACK: usize = 1 << 20;

/// The part of the stack that is searched at once for what a call has left there, in bytes.
const STACK_PART: usize = 4_096;

/// A call's stack ends where this many parts in a row are zero.
const UNUSED_PARTS: usize = 8;

/// The longest text of an error, in bytes. The log shows it.
const ERROR_BYTES: usize = 4_096;

pub(super) struct Guest {
    store: Store<GuestState>,
    instance: Instance,
    memory: Memory,
    alloc: TypedFunc<u32, u32>,
    call: TypedFunc<(u32, u32, u32, u32), i32>,
    out_ptr: TypedFunc<(), u32>,
    out_len: TypedFunc<(), u32>,
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Guest").field("state", self.store.data()).finish_non_exhaustive()
    }
}

impl Guest {
    /// Creates an instance of the engine, without a file.
    pub(super) async fn blank(
        pre: &InstancePre<GuestState>,
        budget: &MemoryBudget,
        limits: &ProgramLimits,
    ) -> Result<Self, ProgramError> {
        let memory = MemoryLimiter::new(budget.clone(), limits.memory_bytes, STACK);
        let mut store = Store::new(pre.module().engine(), GuestState::new(memory));
        store.limiter(|state| &mut state.memory);
        store.epoch_deadline_callback(|mut context| {
            let state = context.data_mut();
            state.ticks += 1;
            if state.ticks > state.budget {
                return Err(CpuUsedUp.into());
            }
            Ok(UpdateDeadline::Yield(1))
        });
        store.data_mut().begin(limits.memory_bytes, limits.cpu);
        store.set_epoch_deadline(1);
        let made = async {
            let instance = pre.instantiate_async(&mut store).await?;
            let memory = instance
                .get_memory(&mut store, "memory")
                .ok_or_else(|| wasmtime::format_err!("the engine exports no memory"))?;
            let alloc = instance.get_typed_func(&mut store, "alloc")?;
            let call = instance.get_typed_func(&mut store, "call")?;
            let out_ptr = instance.get_typed_func(&mut store, "out_ptr")?;
            let out_len = instance.get_typed_func(&mut store, "out_len")?;
            Ok((instance, memory, alloc, call, out_ptr, out_len))
        };
        match made.await {
            Ok((instance, memory, alloc, call, out_ptr, out_len)) => {
                Ok(Self { store, instance, memory, alloc, call, out_ptr, out_len })
            }
            Err(error) => Err(failure(&store, &error, limits.cpu)),
        }
    }

    /// Creates an instance with the memory of a loaded file.
    pub(super) async fn of_image(
        pre: &InstancePre<GuestState>,
        budget: &MemoryBudget,
        image: &Image,
        limits: &ProgramLimits,
    ) -> Result<Self, ProgramError> {
        let mut guest = Self::blank(pre, budget, limits).await?;
        let missing = image.size.saturating_sub(guest.memory.data_size(&guest.store)).div_ceil(PAGE);
        if missing > 0 {
            let grown = guest.memory.grow_async(&mut guest.store, missing as u64).await;
            grown.map_err(|error| failure(&guest.store, &error, limits.cpu))?;
        }
        guest.restore(image);
        Ok(guest)
    }

    /// Starts the engine and loads a file. Returns which functions the file exports.
    pub(super) async fn load(
        &mut self,
        source: &ScriptSource<'_>,
        host: Arc<dyn Host>,
        limits: &ProgramLimits,
    ) -> Result<Vec<Export>, ProgramError> {
        self.begin(host, limits);
        let loaded = self.load_source(source).await;
        self.store.data_mut().end();
        let names = loaded.map_err(|error| failure(&self.store, &error, limits.cpu))??;
        Ok(Export::ALL.into_iter().filter(|export| names.iter().any(|name| name == export.name())).collect())
    }

    async fn load_source(
        &mut self,
        source: &ScriptSource<'_>,
    ) -> wasmtime::Result<Result<Vec<String>, ProgramError>> {
        let store = &mut self.store;
        let initialize: TypedFunc<(), ()> = self.instance.get_typed_func(&mut *store, "_initialize")?;
        let init: TypedFunc<(), i32> = self.instance.get_typed_func(&mut *store, "init")?;
        let provide: TypedFunc<(u32, u32, u32, u32), i32> =
            self.instance.get_typed_func(&mut *store, "provide")?;
        let load: TypedFunc<(u32, u32, u32, u32), i32> = self.instance.get_typed_func(&mut *store, "load")?;
        let exports: TypedFunc<(), i32> = self.instance.get_typed_func(&mut *store, "exports")?;
        let reserve: TypedFunc<u32, ()> = self.instance.get_typed_func(&mut *store, "reserve")?;
        initialize.call_async(&mut *store, ()).await?;
        if init.call_async(&mut *store, ()).await? != 0 {
            return Ok(Err(self.thrown().await?));
        }
        for (name, code) in source.modules {
            let (name, name_len) = self.put(name.as_bytes()).await?;
            let (code, code_len) = self.put(code.as_bytes()).await?;
            if provide.call_async(&mut self.store, (name, name_len, code, code_len)).await? != 0 {
                return Ok(Err(self.thrown().await?));
            }
        }
        let (file, file_len) = self.put(source.file.as_bytes()).await?;
        let (code, code_len) = self.put(source.code.as_bytes()).await?;
        if load.call_async(&mut self.store, (file, file_len, code, code_len)).await? != 0
            || exports.call_async(&mut self.store, ()).await? != 0
        {
            return Ok(Err(self.thrown().await?));
        }
        let names = self.output(usize::MAX).await?.unwrap_or_default();
        reserve.call_async(&mut self.store, RESERVE).await?;
        Ok(serde_json::from_slice(&names).map_err(|error| ProgramError::Host(error.to_string())))
    }

    /// Returns a copy of the memory, without its stack.
    pub(super) fn image(&self) -> Image {
        let data = self.memory.data(&self.store);
        let end = data.iter().rposition(|byte| *byte != 0).map_or(STACK, |at| at + 1).max(STACK);
        Image { bytes: data.get(STACK..end).unwrap_or_default().into(), size: data.len() }
    }

    /// Puts the memory of the loaded file back. Returns whether the instance can be used again: memory that has grown
    /// can't shrink.
    pub(super) fn restore(&mut self, image: &Image) -> bool {
        let data = self.memory.data_mut(&mut self.store);
        if data.len() != image.size {
            return false;
        }
        let Some((stack, data)) = data.split_at_mut_checked(STACK) else { return false };
        let Some((start, rest)) = data.split_at_mut_checked(image.bytes.len()) else { return false };
        clear_stack(stack);
        start.copy_from_slice(&image.bytes);
        rest.fill(0);
        true
    }

    /// Calls an export. Returns its answer, a JSON text.
    pub(super) async fn call(&mut self, call: &ProgramCall<'_>) -> Result<String, ProgramError> {
        self.begin(call.host.clone(), &call.limits);
        let called = self.call_export(call).await;
        self.store.data_mut().end();
        match called {
            Ok(Err(ProgramError::Thrown(text))) => Err(match self.store.data().memory.refused() {
                None => ProgramError::Thrown(text),
                Some(MemoryRefusal::Call) => ProgramError::Memory,
                Some(MemoryRefusal::Budget) => ProgramError::NoInstance,
            }),
            Ok(result) => result,
            Err(error) => Err(failure(&self.store, &error, call.limits.cpu)),
        }
    }

    async fn call_export(
        &mut self,
        call: &ProgramCall<'_>,
    ) -> wasmtime::Result<Result<String, ProgramError>> {
        let (name, name_len) = self.put(call.export.name().as_bytes()).await?;
        let (json, json_len) = self.put(call.input.as_bytes()).await?;
        let called = self.call.clone();
        match called.call_async(&mut self.store, (name, name_len, json, json_len)).await? {
            0 => Ok(Ok(String::new())),
            1 => {
                let most = call.limits.max_response_bytes;
                let Some(answer) = self.output(most).await? else {
                    return Ok(Err(ProgramError::TooLarge(most)));
                };
                let text = String::from_utf8(answer);
                Ok(text.map_err(|_| ProgramError::Host("the engine's answer is not UTF-8".to_owned())))
            }
            _ => Ok(Err(self.thrown().await?)),
        }
    }

    /// Returns the CPU time of the last call, in whole ticks.
    pub(super) fn cpu(&self) -> Duration {
        TICK * self.store.data().ticks
    }

    /// Returns the size of the instance's memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.store.data().memory.held()
    }

    fn begin(&mut self, host: Arc<dyn Host>, limits: &ProgramLimits) {
        let state = self.store.data_mut();
        state.begin(limits.memory_bytes, limits.cpu);
        state.host = Some(host);
        self.store.set_epoch_deadline(1);
    }

    /// Copies bytes into the instance. Returns their address and their number.
    async fn put(&mut self, bytes: &[u8]) -> wasmtime::Result<(u32, u32)> {
        let len = u32::try_from(bytes.len())?;
        let at = self.alloc.call_async(&mut self.store, len).await?;
        if at == 0 {
            wasmtime::bail!("no memory for the input");
        }
        self.memory.write(&mut self.store, at as usize, bytes)?;
        Ok((at, len))
    }

    /// Returns what the engine has put out. None if it has more than `most` bytes.
    async fn output(&mut self, most: usize) -> wasmtime::Result<Option<Vec<u8>>> {
        let at = self.out_ptr.call_async(&mut self.store, ()).await? as usize;
        let len = self.out_len.call_async(&mut self.store, ()).await? as usize;
        if len > most {
            return Ok(None);
        }
        let range = at..at.saturating_add(len);
        let bytes = self.memory.data(&self.store).get(range);
        let bytes = bytes.ok_or_else(|| wasmtime::format_err!("the engine's output is out of range"))?;
        Ok(Some(bytes.to_vec()))
    }

    /// Returns the error that the engine has put out.
    async fn thrown(&mut self) -> wasmtime::Result<ProgramError> {
        let text = self.output(usize::MAX).await?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let end = text.floor_char_boundary(ERROR_BYTES);
        Ok(ProgramError::Thrown(text[..end].trim_end().to_owned()))
    }
}

/// Fills with zeros what calls have left on a stack. The stack grows from its end to its beginning.
fn clear_stack(stack: &mut [u8]) {
    let mut unused = 0;
    for part in stack.rchunks_mut(STACK_PART) {
        if part.iter().all(|byte| *byte == 0) {
            unused += 1;
            if unused == UNUSED_PARTS {
                return;
            }
        } else {
            unused = 0;
            part.fill(0);
        }
    }
}

/// Returns why a call failed. A function to which memory was refused may fail in many ways.
fn failure(store: &Store<GuestState>, error: &wasmtime::Error, cpu: Duration) -> ProgramError {
    let named = trap::of_error(error, cpu);
    match (&named, store.data().memory.refused()) {
        (ProgramError::Cpu(_) | ProgramError::TooDeep, _) | (_, None) => named,
        (_, Some(MemoryRefusal::Budget)) => ProgramError::NoInstance,
        (_, Some(MemoryRefusal::Call)) => ProgramError::Memory,
    }
}
