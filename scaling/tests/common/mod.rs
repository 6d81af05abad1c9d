//! What several tests need: seeded normal draws, and the shared data where it is.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    reason = "each test uses its part; a test is no core"
)]

use std::path::PathBuf;

use cairn_scaling::Table;

/// Normal draws by Box and Muller from a 64-bit mixer (SplitMix64, Steele et al. 2014).
pub struct Draws(u64);

impl Draws {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678_9ABC_DEF0)
    }

    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        ((z >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        let (one, two) = (self.uniform(), self.uniform());
        (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * two).cos()
    }
}

/// `CAIRN_SHARED`, or a folder `shared` beside any parent of this crate.
pub fn shared() -> Option<PathBuf> {
    let given = std::env::var_os("CAIRN_SHARED").map(PathBuf::from);
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let parents: Vec<PathBuf> = package
        .ancestors()
        .map(|parent| parent.join("shared"))
        .collect();
    let found = given
        .into_iter()
        .chain(parents)
        .find(|folder| folder.join("data").is_dir());
    if found.is_none() {
        println!("skipped: no folder `shared`");
    }
    found
}

/// Columns `n`, `d`, `c` and the loss of the 240 points of Besiroglu et al. 2024; `None`, with a line, without the data.
pub fn chinchilla() -> Option<Table> {
    let text =
        std::fs::read_to_string(shared()?.join("data/chinchilla-epoch/svg_extracted_data.csv"))
            .ok()?;
    let mut rows: Vec<(usize, f64, f64, f64)> = text
        .lines()
        .skip(1)
        .enumerate()
        .map(|(index, line)| {
            let cell = |place: usize| -> f64 {
                line.split(',')
                    .nth(place)
                    .and_then(|cell| cell.parse().ok())
                    .expect("a number")
            };
            (index, cell(3), cell(4), cell(6))
        })
        .collect();
    rows.sort_by(|one, two| two.3.total_cmp(&one.3));
    rows.drain(..5);
    let mut table = Table::default();
    for (index, n, c, loss) in rows {
        table.push(
            &format!("point-{index:03}"),
            &[("n", n), ("d", c / (6.0 * n)), ("c", c)],
            loss,
        );
    }
    Some(table)
}
