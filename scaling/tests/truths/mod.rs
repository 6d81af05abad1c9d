//! Parameters and ranges for every built-in law: published values where there are some. What tests of all laws share.

#![allow(
    clippy::disallowed_methods,
    reason = "a test is no core: its expectations need not replay exactly"
)]

/// A law with parameters to be recovered and the ranges its columns are drawn from.
pub struct Truth {
    pub law: &'static str,
    pub parameters: &'static [(&'static str, f64)],
    /// Name, least, most, and whether spread over decades.
    pub columns: &'static [(&'static str, f64, f64, bool)],
}

/// All laws.
pub const TRUTHS: [Truth; 15] = [
    Truth {
        law: "hoffmann",
        parameters: &[
            ("a", 482.0),
            ("b", 2085.43),
            ("e", 1.8172),
            ("alpha", 0.3478),
            ("beta", 0.3658),
        ],
        columns: &[("n", 1e7, 1e10, true), ("d", 1e9, 1e12, true)],
    },
    Truth {
        law: "kaplan",
        parameters: &[
            ("n_c", 6.4e13),
            ("d_c", 1.8e13),
            ("alpha_n", 0.076),
            ("alpha_d", 0.103),
        ],
        columns: &[("n", 1e5, 1e10, true), ("d", 1e7, 1e11, true)],
    },
    Truth {
        law: "power",
        parameters: &[("a", 300.0), ("e", 1.5), ("b", 0.12)],
        columns: &[("c", 1e16, 1e23, true)],
    },
    Truth {
        law: "log_linear",
        parameters: &[("a", 9.0), ("b", 0.3)],
        columns: &[("c", 1e16, 1e22, true)],
    },
    Truth {
        law: "muennighoff",
        parameters: &[
            ("a", 521.0),
            ("b", 1488.0),
            ("e", 1.87),
            ("alpha", 0.353),
            ("beta", 0.353),
            ("rd_star", 15.39),
            ("rn_star", 5.31),
        ],
        columns: &[
            ("n", 1e7, 1e10, true),
            ("d", 1e9, 1e12, true),
            ("u", 1e8, 1e10, true),
        ],
    },
    Truth {
        law: "clark",
        parameters: &[
            ("a", -0.082),
            ("b", -0.108),
            ("c", 0.009),
            ("d", 1.104),
            ("e_start", 1.847),
            ("e_max", 314.478),
        ],
        columns: &[("n", 1e7, 2e9, true), ("experts", 1.0, 512.0, true)],
    },
    Truth {
        law: "krajewski",
        parameters: &[
            ("a", 18.1),
            ("b", 30.8),
            ("g", 2.1),
            ("e", 0.47),
            ("alpha", 0.115),
            ("beta", 0.147),
            ("gamma", 0.58),
        ],
        columns: &[
            ("n", 1e7, 1e10, true),
            ("d", 1e9, 1e12, true),
            ("granularity", 1.0, 32.0, true),
        ],
    },
    Truth {
        law: "gadre_loss",
        parameters: &[("a", 200.0), ("b", 200.0), ("e", 1.6), ("p", -0.25)],
        columns: &[("n", 1e7, 1e10, true), ("m", 5.0, 640.0, true)],
    },
    Truth {
        law: "gadre_error",
        parameters: &[("eps", 0.86), ("k", 2.2), ("gamma", 0.7)],
        columns: &[("loss", 2.2, 4.5, false)],
    },
    Truth {
        law: "sigmoid_loss",
        parameters: &[("floor", 0.25), ("ceil", 0.95), ("k", 4.0), ("l0", 0.9)],
        columns: &[("loss", 0.3, 1.8, false)],
    },
    Truth {
        law: "sigmoid_compute",
        parameters: &[("floor", 0.1), ("ceil", 0.9), ("k", 2.0), ("c0", 1e21)],
        columns: &[("c", 1e18, 1e24, true)],
    },
    Truth {
        law: "success_compute",
        parameters: &[("ceil", 0.9), ("a", 2000.0), ("b", 0.15)],
        columns: &[("c", 1e18, 1e25, true)],
    },
    Truth {
        law: "learning_curve",
        parameters: &[("a", 12.0), ("e", 2.9), ("alpha", 0.4)],
        columns: &[("step", 100.0, 1e5, true)],
    },
    Truth {
        law: "learning_curve_annealing",
        parameters: &[("a", 0.5), ("e", 2.6), ("alpha", 0.5), ("c", 0.4)],
        columns: &[("s1", 0.05, 10.0, true), ("s2", 0.0, 0.6, false)],
    },
    Truth {
        law: "mixture",
        parameters: &[("e", 1.6), ("k", 1.2), ("t1", -2.0), ("t2", 0.7)],
        columns: &[("r1", 0.0, 0.6, false), ("r2", 0.0, 0.4, false)],
    },
];

impl Truth {
    /// The value of each column in row `index`: additive recurrences by roots of primes, which fill a box evenly.
    pub fn point(&self, index: usize) -> Vec<(&'static str, f64)> {
        let steps = [
            0.618_033_988_749_895,
            0.414_213_562_373_095,
            0.236_067_977_499_79,
        ];
        let place =
            |(axis, (name, low, high, decades)): (usize, &(&'static str, f64, f64, bool))| {
                let share = (0.5 + steps[axis] * (index as f64 + 1.0)).fract();
                let value = if *decades {
                    low * (high / low).powf(share)
                } else {
                    low + share * (high - low)
                };
                (*name, value)
            };
        self.columns.iter().enumerate().map(place).collect()
    }
}
