//! Prints the formats, one a line.

fn main() {
    for name in cairn_fuzz::formats() {
        println!("{name}");
    }
}
