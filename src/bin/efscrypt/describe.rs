//! `efscrypt describe`: what a store says about itself.

use std::collections::BTreeMap;

use clap::Args;
use efscrypt::{DomainDescription, StoreDescription};
use serde::Serialize;

use crate::exit::Failure;
use crate::output::{self, KeyView};
use crate::store::{Access, StoreArgs};

#[derive(Args)]
pub struct DescribeArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `efscrypt describe`.
pub fn run(args: DescribeArgs) -> Result<(), Failure> {
    let store = args.store.open(Access::Metadata)?;
    let description = store.describe().map_err(|e| args.store.failure("describe", e))?;
    show(&description, args.json)
}

/// Prints a description.
pub fn show(store: &StoreDescription, json: bool) -> Result<(), Failure> {
    match json {
        true => output::json(&StoreView::new(store)),
        false => output::lines(&block(store)),
    }
}

/// A store in JSON. Dates are seconds since 1970-01-01 00:00:00 UTC.
#[derive(Serialize)]
struct StoreView<'a> {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    tags: BTreeMap<&'a str, &'a str>,
    format: u32,
    created: u64,
    generation: u64,
    metered_bytes: u64,
    metadata: DomainView<'a>,
    data: DomainView<'a>,
}

/// A domain in JSON.
#[derive(Serialize)]
struct DomainView<'a> {
    provider: &'a str,
    key_id: &'a str,
    kek_version: u32,
    /// `null` where the key service does not know the key.
    key: Option<KeyView<'a>>,
}

impl<'a> StoreView<'a> {
    fn new(store: &'a StoreDescription) -> Self {
        StoreView {
            id: store.id_hex(),
            name: store.name.as_deref(),
            tags: store.tags.iter().map(|(key, value)| (&**key, &**value)).collect(),
            format: store.format,
            created: seconds(store.created),
            generation: store.generation,
            metered_bytes: store.metered_bytes,
            metadata: DomainView::new(&store.metadata),
            data: DomainView::new(&store.data),
        }
    }
}

impl<'a> DomainView<'a> {
    fn new(domain: &'a DomainDescription) -> Self {
        DomainView {
            provider: &domain.provider,
            key_id: &domain.key_id,
            kek_version: domain.kek_version,
            key: domain.key.as_ref().map(KeyView::new),
        }
    }
}

/// A store, a line for each of its properties.
fn block(store: &StoreDescription) -> Vec<String> {
    let mut lines = vec![format!("id            {}", store.id_hex())];
    lines.extend(store.name.iter().map(|name| format!("name          {name}")));
    let tags = store.tags.iter();
    lines.extend(tags.map(|(key, value)| format!("tag           {key}={value}")));
    lines.push(format!("format        {}", store.format));
    lines.push(format!("created       {}", output::utc(seconds(store.created))));
    lines.push(format!("generation    {}", store.generation));
    lines.push(format!("in use        {}", output::bytes(store.metered_bytes)));
    lines.push(format!("metadata key  {}", domain(&store.metadata)));
    lines.push(format!("data key      {}", domain(&store.data)));
    lines
}

/// A domain's provider key: id, provider, and what the provider says of it.
fn domain(domain: &DomainDescription) -> String {
    let known = domain.key.as_ref().map(|key| {
        let names = key.aliases.iter().map(|alias| format!(" {alias}"));
        format!(", {}{}", key.state, names.collect::<String>())
    });
    let known = known.unwrap_or_else(|| ", not in this key service".to_owned());
    format!("{} of {}{known}", domain.key_id, domain.provider)
}

fn seconds(nanoseconds: u64) -> u64 {
    nanoseconds / 1_000_000_000
}
