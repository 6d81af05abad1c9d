//! Formats of files; `CAIRN_FUZZ_FORMAT` names one, without it the first byte chooses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

fuzz_target!(|bytes: &[u8]| {
    static ONLY: OnceLock<Option<String>> = OnceLock::new();
    match ONLY.get_or_init(|| std::env::var("CAIRN_FUZZ_FORMAT").ok()) {
        Some(name) => cairn_fuzz::format(name, bytes),
        None => {
            if let Some((which, rest)) = bytes.split_first() {
                let names = cairn_fuzz::formats();
                cairn_fuzz::format(names[usize::from(*which) % names.len()], rest);
            }
        }
    }
});
