//! The `cairn` command. Everything it does is in the library; see [`cairn_pipeline::cli`].

fn main() -> std::process::ExitCode {
    cairn_pipeline::cli::main()
}
