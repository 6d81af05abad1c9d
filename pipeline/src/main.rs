//! The `cairn` command. Everything it does is in the library; see [`cairn_pipeline::cli`].

/// Rows, states and records are many small values that live for a batch: the C library's allocator took a quarter of the chain's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cairn_pipeline::cli::main()
}
