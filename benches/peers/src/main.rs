//! The sector cipher and the engine's rows against their peers, in one process and one thread.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml [-- cipher | rows [COUNT] |
//! durable]`; it needs the headers of OpenSSL (`libssl-dev`), and builds AWS-LC and SQLite. `rows`
//! writes to the directory for temporary files, and so does `durable` unless `EFSCRYPT_BENCH_DIR`
//! says otherwise: it should be on the disk that is meant.

mod cipher;
mod cipher_peers;
mod durable;
mod rows;

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        None | Some("cipher") => cipher::run(),
        Some("rows") => rows::run(
            arguments
                .next()
                .map_or(1_000_000, |count| count.parse().expect("COUNT is a number of rows")),
        ),
        Some("durable") => durable::run(),
        Some(other) => panic!("{other} is none of `cipher`, `rows` and `durable`"),
    }
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
