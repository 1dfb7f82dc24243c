//! `efscrypt trim`: free space goes back to the host.

use clap::Args;
use efscrypt::fs::Trimmed;
use serde::Serialize;

use crate::exit::Failure;
use crate::output;
use crate::store::{Access, StoreArgs};

#[derive(Args)]
pub struct TrimArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `efscrypt trim`.
pub fn run(args: TrimArgs) -> Result<(), Failure> {
    let store = args.store.open(Access::WriteMetadata)?;
    let fs = store.file_system();
    let failed = |error| args.store.failure("trim", error);
    // What removed files still hold first.
    while !fs.maintain().map_err(failed)? {}
    let trimmed = fs.trim().map_err(failed)?;
    args.store.close(store)?;
    match args.json {
        true => output::json(&TrimView::new(&trimmed)),
        false => output::lines(&block(&trimmed)),
    }
}

/// What a trim gave back, in JSON. Sizes are bytes.
#[derive(Serialize)]
struct TrimView {
    supported: bool,
    discarded: u64,
    cut: u64,
    /// `null` where the device does not say.
    returned: Option<u64>,
}

impl TrimView {
    fn new(trimmed: &Trimmed) -> TrimView {
        let Trimmed { discarded, cut, returned, supported } = *trimmed;
        TrimView { supported, discarded, cut, returned }
    }
}

/// The same, a line for each number.
fn block(trimmed: &Trimmed) -> Vec<String> {
    if !trimmed.supported {
        return vec!["nothing came back: this device keeps all space that it ever had".to_owned()];
    }
    let mut lines = vec![
        format!("free       {}", output::bytes(trimmed.discarded)),
        format!("shorter    {}", output::bytes(trimmed.cut)),
    ];
    lines.extend(trimmed.returned.map(|back| format!("came back  {}", output::bytes(back))));
    lines
}
