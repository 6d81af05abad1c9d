//! Writes `docs/topics.asyncapi.json` from the catalogue.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    // From cargo at run time: compiled in, it would be the folder of the clone that built this.
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    std::fs::write(
        package.join("../docs/topics.asyncapi.json"),
        cairn_topics::asyncapi_text(),
    )
}
