//! One row in each durable transaction: the engine beside redb and SQLite (WAL, synchronous=FULL),
//! by one caller, and by many at once.
//!
//! All three make a transaction durable before its call returns. The engine encrypts and
//! authenticates every row; the others do not.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use efscrypt::device::FileDevice;
use efscrypt::txn::{Class, Edits, Engine, EngineOptions, FIRST_FS_TREE, fixed_keys};
use redb::{Database, TableDefinition};
use rusqlite::Connection;

use crate::median;

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");
const VALUE: [u8; 100] = [7; 100];
const TRANSACTIONS: u64 = 1000;
const CALLERS: u64 = 16;
const ROUNDS: usize = 7;

/// Puts one row, durably.
type Put<'a> = Box<dyn Fn(u64) + Send + Sync + 'a>;

fn ours(path: &Path) -> Put<'static> {
    let device = Arc::new(FileDevice::create(path).expect("a file"));
    let options = EngineOptions::default();
    let engine = Engine::create(device, fixed_keys(1).expect("keys"), &options).expect("a store");
    Box::new(move |number| {
        let mut edits = Edits::new();
        // Class 1, as inodes have.
        let mut key = [1; 9];
        key[1..].copy_from_slice(&number.to_be_bytes());
        edits.put(FIRST_FS_TREE, &key, &VALUE);
        let lsn = engine.commit(&mut edits, Class::Normal).expect("a commit");
        engine.sync(lsn).expect("a sync");
    })
}

fn redb(path: &Path) -> Put<'static> {
    let database = Database::create(path).expect("a database");
    Box::new(move |number| {
        let write = database.begin_write().expect("a transaction");
        write.open_table(TABLE).expect("a table").insert(number, &VALUE[..]).expect("an insert");
        write.commit().expect("a commit");
    })
}

fn sqlite(path: &Path) -> Put<'static> {
    let open = || {
        let connection = Connection::open(path).expect("a database");
        connection.pragma_update(None, "journal_mode", "wal").expect("a pragma");
        connection.pragma_update(None, "synchronous", "full").expect("a pragma");
        connection.busy_timeout(std::time::Duration::from_secs(60)).expect("a timeout");
        connection
    };
    let first = open();
    first
        .execute_batch("create table if not exists rows (number integer primary key, value blob)")
        .expect("a table");
    // A connection serves one caller at a time.
    let connections: Vec<Mutex<Connection>> =
        std::iter::once(first).chain((1..CALLERS).map(|_| open())).map(Mutex::new).collect();
    Box::new(move |number| {
        let free = connections.iter().find_map(|connection| connection.try_lock().ok());
        let connection = free.expect("a connection for each caller");
        connection
            .prepare_cached("insert into rows values (?1, ?2)")
            .expect("a statement")
            .execute((number as i64, &VALUE[..]))
            .expect("an insert");
    })
}

/// Prints microseconds per transaction, and how much longer the others take.
pub fn run() {
    let base = std::env::var_os("EFSCRYPT_BENCH_DIR").map(std::path::PathBuf::from);
    let base = base.unwrap_or_else(std::env::temp_dir);
    let place = tempfile::tempdir_in(base).expect("a directory");
    let at = |name: &str| place.path().join(name);
    let sides =
        [("efscrypt", ours(&at("e"))), ("redb", redb(&at("r"))), ("SQLite", sqlite(&at("s")))];
    let next = AtomicU64::new(0);
    println!("{:<16}{:<12}{:>16}{:>9}", "callers", "", "per transaction", "ratio");
    for callers in [1, CALLERS] {
        let mut times: [Vec<f64>; 3] = Default::default();
        for _ in 0..ROUNDS {
            for ((_, put), times) in sides.iter().zip(&mut times) {
                times.push(round(put, callers, &next));
            }
        }
        for ((name, _), side) in sides.iter().zip(&times) {
            let ratios = side.iter().zip(&times[0]).map(|(side, ours)| side / ours);
            let ratio = median(ratios.collect());
            let time = median(side.clone()) * 1e6;
            println!("{callers:<16}{name:<12}{time:>13.0} us{ratio:>9.2}");
        }
    }
}

/// Seconds of one transaction.
fn round(put: &Put<'_>, callers: u64, next: &AtomicU64) -> f64 {
    let share = TRANSACTIONS / callers;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| (0..share).for_each(|_| put(next.fetch_add(1, Ordering::Relaxed))));
        }
    });
    start.elapsed().as_secs_f64() / (share * callers) as f64
}
