//! Writes `docs/topics.asyncapi.json` from the catalogue.

fn main() -> std::io::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/topics.asyncapi.json");
    std::fs::write(path, cairn_topics::asyncapi_text())
}
