//! Writes everything that is made from `schemas/`: the copies of shared types inside the schemas,
//! the Rust records, the JSON Schemas and `docs/data-model.md`.
//!
//! Run `cargo run -p cairn-avro --example generate` after a change of a schema. A test holds what
//! is checked in against a fresh run.

mod contract;
mod docs;
mod json;
mod model;
mod rust;
mod schemas;
mod seeds;

fn main() {
    let root = model::root();
    for (path, text) in contract::outputs(&root) {
        let path = root.join(path);
        if std::fs::read_to_string(&path).ok().as_deref() == Some(&text) {
            continue;
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).expect("the folder can be made");
        }
        std::fs::write(&path, text).expect("the file can be written");
        println!("{}", path.display());
    }
}
