//! Colours: a palette and a ramp that colour-blind readers can tell apart, and what carries them.

/// Red, green, blue, eight bits each.
pub(super) type Rgb = u32;

/// The palette of Okabe and Ito (2008) without yellow, which is too pale for lines: told apart with every common colour
/// blindness. Its orange and sky blue come late, because they are the palest.
const PALETTE: [Rgb; 7] = [
    0x0072b2, 0xd55e00, 0x009e73, 0xcc79a7, 0x56b4e9, 0xe69f00, 0x8a8a8a,
];

/// On dark paper the two darkest would drown.
const PALETTE_DARK: [Rgb; 7] = [
    0x4aa8e0, 0xf08a3c, 0x2fc79a, 0xe19bc4, 0x8fd0f5, 0xf2bd45, 0xa6a6a6,
];

/// Indigo through teal to yellow with evenly rising lightness (0.28 to 0.92 in OKLCH, hue 300 to 105, chroma 0.14 or as much
/// as sRGB holds): order survives colour blindness and a grey printer.
const RAMP: [Rgb; 17] = [
    0x360761, 0x341c74, 0x2d2f84, 0x1d4192, 0x015496, 0x016493, 0x017495, 0x048398, 0x01929b,
    0x03a19b, 0x08b198, 0x29c090, 0x5fcb87, 0x88d47e, 0xaddc77, 0xd1e473, 0xf2ea74,
];

/// The colours of a paper.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    pub paper: Rgb,
    pub ink: Rgb,
    pub faint: Rgb,
    pub grid: Rgb,
    pub dark: bool,
}

impl Theme {
    pub fn new(dark: bool) -> Self {
        if dark {
            Self {
                paper: 0x15181c,
                ink: 0xe6e6e6,
                faint: 0x9aa0a6,
                grid: 0x2c3138,
                dark,
            }
        } else {
            Self {
                paper: 0xffffff,
                ink: 0x1a1a1a,
                faint: 0x6b6b6b,
                grid: 0xe4e4e4,
                dark,
            }
        }
    }

    pub fn slot(&self, slot: usize) -> Rgb {
        let palette = if self.dark { PALETTE_DARK } else { PALETTE };
        palette[slot % palette.len()]
    }

    /// Colour at a share of the ramp. Its pale end is cut on white paper, its dark end on dark paper.
    pub fn ramp(&self, share: f64) -> Rgb {
        let share = if share.is_finite() {
            share.clamp(0.0, 1.0)
        } else {
            0.0
        };
        let (from, to) = if self.dark { (0.18, 1.0) } else { (0.0, 0.92) };
        let place = (from + share * (to - from)) * (RAMP.len() - 1) as f64;
        let at = (place as usize).min(RAMP.len() - 2);
        mix(RAMP[at], RAMP[at + 1], place - at as f64)
    }
}

/// `share` of the second colour in the first.
pub(super) fn mix(one: Rgb, other: Rgb, share: f64) -> Rgb {
    [16, 8, 0]
        .into_iter()
        .map(|shift| {
            let channel = |rgb: Rgb| f64::from((rgb >> shift) & 0xff);
            let mixed = channel(one) + (channel(other) - channel(one)) * share;
            ((mixed + 0.5) as u32) << shift
        })
        .sum()
}
