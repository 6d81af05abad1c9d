//! What training, evaluation and serving say all day, and what is nobody's secret.

use super::Draw;

const HEX: &str = "0123456789abcdef";

fn uuid(draw: &mut Draw) -> String {
    let parts: Vec<String> = [8, 4, 4, 4, 12]
        .iter()
        .map(|length| draw.text(*length, HEX))
        .collect();
    parts.join("-")
}

/// A whole number of one to nineteen digits.
fn number(draw: &mut Draw) -> String {
    let length = 1 + draw.below(19) as usize;
    format!("{}{}", 1 + draw.below(9), draw.digits(length - 1))
}

/// One line.
pub fn line(draw: &mut Draw) -> String {
    let fraction = draw.fraction();
    let step = draw.below(2_000_000);
    match draw.below(40) {
        0 => format!(
            "step {step} loss {:.6} lr {:.3e} grad_norm {:.4}",
            2.0 + fraction,
            fraction * 1e-3,
            fraction * 3.0
        ),
        1 => format!(
            "iteration {step:8}/ 2000000 | consumed samples: {:12} | elapsed time per iteration (ms): {:.1} | lm loss: {:.6E} |",
            step * 512,
            300.0 * fraction,
            3.0 * fraction
        ),
        2 => format!("{:.17}", fraction * 10.0),
        3 => format!("tokens={} flops={}", number(draw), number(draw)),
        4 => draw.text(40, HEX),
        5 => format!("commit {} on main", draw.text(7, HEX)),
        6 => format!("sha256:{}", draw.text(64, HEX)),
        7 => uuid(draw),
        8 => format!("00-{}-{}-01", draw.text(32, HEX), draw.text(16, HEX)),
        9 => format!(
            "2026-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            1 + draw.below(12),
            1 + draw.below(28),
            draw.below(24),
            draw.below(60),
            draw.below(60),
            draw.below(1_000_000)
        ),
        10 => format!(
            "event_time_ms {}",
            1_700_000_000_000 + draw.below(99_999_999_999)
        ),
        11 => format!(
            "start_ns={} end_ns={}",
            1_700_000_000_000_000_000 + draw.below(99_999_999_999_999_999),
            1_700_000_000_000_000_000 + draw.below(99_999_999_999_999_999)
        ),
        12 => format!("{}", 1_700_000_000 + draw.below(99_999_999)),
        13 => format!(
            "torch=={}.{}.{}+cu1{}",
            draw.below(3),
            draw.below(20),
            draw.below(5),
            draw.digits(2)
        ),
        14 => format!(
            "driver {}.{}.{} cudnn 9.{}.0.{}",
            500 + draw.below(80),
            draw.below(100),
            draw.below(20),
            draw.below(10),
            draw.below(100)
        ),
        15 => format!(
            "v{}.{}.{}-rc{}",
            draw.below(9),
            draw.below(30),
            draw.below(30),
            draw.below(4)
        ),
        16 => format!(
            "/mnt/runs/{}/checkpoints/global_step{step}/mp_rank_{:02}_model_states.pt",
            draw.text(8, HEX),
            draw.below(64)
        ),
        17 => format!(
            "s3://bucket-{}/tokens/part-{:05}-of-{:05}.zst",
            draw.digits(3),
            draw.below(99_999),
            99_999
        ),
        18 => format!(
            "torch.Size([{}, {}, {}])",
            draw.below(512),
            draw.below(8192),
            draw.below(16384)
        ),
        19 => format!(
            "rank {}/{} world_size {} master_port 295{}",
            draw.below(1024),
            1024,
            1024,
            draw.digits(2)
        ),
        20 => format!("seed: {}", draw.next()),
        21 => format!(
            "s:{step} trl:{:.4} lr:{:.6} norm:{:.2}",
            3.0 * fraction,
            fraction * 1e-3,
            fraction
        ),
        22 => format!(
            "hellaswag acc_norm {fraction:.4} ± {:.4} (n={})",
            fraction / 100.0,
            draw.below(20_000)
        ),
        23 => format!(
            "p50 {:.3} ms p95 {:.3} ms p99 {:.3} ms over {} requests",
            10.0 * fraction,
            20.0 * fraction,
            40.0 * fraction,
            number(draw)
        ),
        24 => format!(
            "model.layers.{}.self_attn.q_proj.weight mean {:.3e} std {:.3e}",
            draw.below(96),
            fraction - 0.5,
            fraction
        ),
        25 => (0..6)
            .map(|_| format!("{:.4}", draw.fraction()))
            .collect::<Vec<_>>()
            .join(" "),
        26 => (0..8)
            .map(|_| draw.below(2_048).to_string())
            .collect::<Vec<_>>()
            .join(", "),
        27 => format!(
            "{:02}:{:02}:{:02}",
            draw.below(100),
            draw.below(60),
            draw.below(60)
        ),
        28 => format!(
            "run-{}-{}-lr{:.0e}-bs{}",
            draw.one(&["124m", "350m", "1b3", "7b"]),
            draw.text(6, HEX),
            fraction * 1e-3,
            1 << draw.below(12)
        ),
        29 => format!(
            "memory_bytes={} of {} ({:.1} %)",
            number(draw),
            number(draw),
            100.0 * fraction
        ),
        30 => format!(
            "vocab_size: 50304, n_layer: {}, n_head: {}, n_embd: {}, params: {}",
            draw.below(96),
            draw.below(64),
            draw.below(12_288),
            number(draw)
        ),
        31 => format!(
            "tool call {} returned exit code {} after {} ms, {} retries",
            draw.text(24, HEX),
            draw.below(256),
            number(draw),
            draw.below(9)
        ),
        32 => format!(
            "token id {} -> logit {:.5}, kv cache {} blocks, key length {}",
            draw.below(128_256),
            fraction * 30.0,
            draw.below(100_000),
            draw.below(131_072)
        ),
        33 => format!(
            "offset {} partition {} lag {}",
            number(draw),
            draw.below(64),
            number(draw)
        ),
        34 => number(draw),
        35 => format!(
            "{} tokens/s, {} tokens in {:.2} h",
            number(draw),
            number(draw),
            fraction * 100.0
        ),
        36 => format!(
            "gpu{}: {} MiB / 81559 MiB, {} W, {} C, PCI 0000:{}:00.0",
            draw.below(8),
            draw.below(81_559),
            draw.below(700),
            draw.below(90),
            draw.text(2, HEX)
        ),
        37 => format!(
            "span {} parent {} status OK",
            draw.text(16, HEX),
            draw.text(16, HEX)
        ),
        38 => format!(
            "[{step}/{}] eta {}:{:02}:{:02}, {:.2} it/s",
            2_000_000,
            draw.below(99),
            draw.below(60),
            draw.below(60),
            fraction * 9.0
        ),
        _ => format!(
            "bytes {}-{} of {} from shard {:04}-{:04}-{:04}",
            number(draw),
            number(draw),
            number(draw),
            draw.below(9_999),
            draw.below(9_999),
            draw.below(9_999)
        ),
    }
}
