//! The sector cipher and the engine's rows against their peers, in one process and one thread.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml [-- cipher | rows [COUNT]]`; it
//! needs the headers of OpenSSL (`libssl-dev`) and builds AWS-LC. `rows` writes to the directory
//! for temporary files, which should be on the disk that is meant.

mod cipher;
mod cipher_peers;
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
        Some(other) => panic!("{other} is neither `cipher` nor `rows`"),
    }
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
