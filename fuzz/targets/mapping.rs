//! Mapping files, and tables for them behind a line `---`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| cairn_fuzz::mapping(bytes));
