#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| parlor::fuzz::tokens(data));
