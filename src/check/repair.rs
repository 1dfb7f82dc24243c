//! Repair: the best state that a damaged store still holds, shown first, and then written.

use std::fmt;
use std::sync::Arc;

use super::mend::{Bucket, Mender};
use super::note::{Mending, Note};
use crate::block::MetaKeys;
use crate::crypto::{Domain, KeyArena, NameHasher, Rng, Slot};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::format::{COOKIE_COUNTER_BITS, StoreKey, UnverifiedSuperblock};
use crate::keys::{Kek, newest};
use crate::store::{Providers, StoreOptions};
use crate::txn::{Engine, EngineOptions, Recount, Salvage, Takeover};

/// Bits of the hash of a name in every store but those of some tests.
const HASH_BITS: u32 = 55;

/// A repair that was worked out and not written yet.
///
/// Up to [`Repair::commit`] nothing is written. Dropped, it never was.
pub struct Repair {
    salvage: Salvage,
    report: RepairReport,
    takeover: Takeover,
    accept_older: bool,
}

/// What a repair reads, and what it may give up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepairOptions {
    /// Whether all contents are read and compared with their checksums.
    pub contents: bool,
    /// Whether metadata that the device does not read counts as lost: for a medium that will never
    /// read it again. Without it such a repair is refused, as what it gives up is gone for good.
    pub give_up_unreadable: bool,
    /// Whether the store may go back to a state that is older than others that were durable.
    /// Without it [`Repair::commit`] refuses that.
    pub accept_older: bool,
}

/// What a repair found wrong below the rows of a store.
#[derive(Debug)]
#[non_exhaustive]
pub enum Damage {
    /// The device does not read some blocks: what stood there counts as lost.
    Unread {
        /// How many, of 4 KiB.
        units: u64,
    },
    /// The store is shorter than it was. What stood behind its end counts as not read.
    Cut {
        /// Bytes there are.
        have: u64,
        /// Bytes there were.
        need: u64,
    },
    /// A superblock that does not open.
    Superblock(Error),
    /// The newest superblock is missing in one of its two places.
    OneSuperblock,
    /// A newer state may have been lost with its superblock: this one is of the generation given.
    Outdated(u64),
    /// The superblocks are older than what else is there: a newer state was found and serves, with
    /// all that the log holds behind it.
    Newer {
        /// Generation of the newest superblock.
        superblock: u64,
        /// Generation of the state that serves.
        serves: u64,
    },
    /// The header came back from a backup: the newest state of what is there was found and serves,
    /// of the generation given; 0 where it was put together of single nodes.
    Restored(u64),
    /// A state that was durable is newer than the one that can be put together.
    Older {
        /// Generation of the state that serves.
        serves: u64,
        /// Highest generation of what was found.
        newest: u64,
    },
    /// Nothing says where the file system starts.
    NoRoot,
    /// A node, or one of its copies, does not verify.
    Node(Error),
    /// More nodes, or copies, that do not verify than are listed.
    MoreNodes {
        /// How many more.
        count: u64,
    },
    /// Nodes whose parents are lost were found by their headers. They are authentic, and where the
    /// store was only damaged they are the newest; who can write to it may have put older ones
    /// in their places.
    ByHeader {
        /// How many.
        nodes: u64,
    },
    /// Leaves are gone with rows that nothing else need know of.
    Leaves {
        /// How many.
        count: u64,
    },
    /// Leaves may be gone together with the nodes that named them: the space map says that there
    /// was more.
    Missing {
        /// How many at most.
        count: u64,
    },
    /// Rows may be of an older state, and some that were deleted may be there again.
    Uncertain,
    /// Records of the log are gone, although later ones are there.
    Log {
        /// How many.
        records: u64,
    },
    /// Transactions of the log make no sense.
    Transactions {
        /// How many.
        count: u64,
    },
    /// Contents that the log took last cannot be read: the store does not open for writing.
    Unsettled {
        /// How many transactions took them.
        count: u64,
    },
    /// The store's name and tags may be gone.
    Properties,
    /// The store does not open, although all that it holds can be read: the log contradicts it.
    Unopened(Error),
    /// The space map does not say what is in use.
    Space(Recount),
}

/// What a repair does, and what it cannot bring back.
#[derive(Debug, Default)]
pub struct RepairReport {
    /// What is wrong below the rows.
    pub damage: Vec<Damage>,
    /// What becomes of rows, files and names.
    pub notes: Vec<Note>,
    /// Whether the repair changes anything.
    pub needed: bool,
    /// What kept the commit from writing all superblocks anew. The repair is durable all the same;
    /// where one that is forged or damaged stays, the store may need another.
    pub unfinished: Option<Error>,
}

impl RepairReport {
    /// Whether something of a file, a directory or a name is gone or damaged, or may be.
    pub fn is_lossy(&self) -> bool {
        let vague = |damage: &Damage| {
            use Damage as D;
            matches!(
                damage,
                D::Unread { .. }
                    | D::ByHeader { .. }
                    | D::Leaves { .. }
                    | D::Missing { .. }
                    | D::Properties
                    | D::Unopened(_)
                    | D::Outdated(_)
                    | D::Older { .. }
                    | D::Uncertain
                    | D::Log { .. }
                    | D::Transactions { .. }
                    | D::Unsettled { .. }
            )
        };
        self.notes.iter().any(|note| note.what.is_loss()) || self.damage.iter().any(vague)
    }

    /// Whether the store would go back to a state that is older than others that were durable.
    pub fn is_older(&self) -> bool {
        self.damage.iter().any(|damage| matches!(damage, Damage::Older { .. }))
    }

    /// Whether contents are damaged that no repair brings back.
    pub fn has_damaged_contents(&self) -> bool {
        let damaged = |note: &Note| matches!(note.what, Mending::ContentsDamaged { .. });
        self.notes.iter().any(damaged)
    }
}

impl Damage {
    /// Says how old the state is that serves.
    fn age(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Damage as D;
        match self {
            D::Outdated(generation) => write!(
                f,
                "the newest superblock may be gone, or cannot be read; the state of generation \
                 {generation} is the newest that is left"
            ),
            D::Newer { superblock, serves } => write!(
                f,
                "the superblocks are of generation {superblock}, {} generations behind what was \
                 found: the state of generation {serves} serves, and what the log holds behind it. \
                 Keys are wrapped as they were then: rewrap it if that was done since",
                serves - superblock
            ),
            D::Restored(0) => write!(
                f,
                "the header came from a backup, and the newest root is lost: single nodes serve"
            ),
            D::Restored(serves) => write!(
                f,
                "the header came from a backup: the state of generation {serves}, the newest that \
                 was found, serves, and what the log holds behind it"
            ),
            D::Older { serves, newest } => write!(
                f,
                "the state of generation {serves} is the newest that can be put together, and {} \
                 generations behind others that were durable, up to generation {newest}",
                newest - serves
            ),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Damage as D;
        match self {
            D::Unread { units: 1 } => {
                write!(f, "1 block cannot be read: what stood there counts as lost")
            }
            D::Unread { units } => {
                write!(f, "{units} blocks cannot be read: what stood there counts as lost")
            }
            D::Cut { have, need } => {
                write!(f, "the store is truncated: it has {have} bytes, and had {need}")
            }
            D::Superblock(error) | D::Node(error) => write!(f, "{error}"),
            D::Unopened(error) => write!(f, "the log contradicts the rest of the store: {error}"),
            D::OneSuperblock => write!(f, "the newest superblock stands in one place only"),
            D::Outdated(_) | D::Newer { .. } | D::Restored(_) | D::Older { .. } => self.age(f),
            D::NoRoot => write!(f, "nothing says where the file system starts"),
            D::MoreNodes { count } => write!(f, "{count} more copies of nodes do not verify"),
            D::ByHeader { nodes } => write!(
                f,
                "{nodes} nodes of the trees were found by their headers, as what is above them is \
                 lost: nothing proves that they are the newest"
            ),
            D::Leaves { count: 1 } => write!(f, "1 leaf of the trees is lost with its rows"),
            D::Leaves { count } => {
                write!(f, "{count} leaves of the trees are lost with their rows")
            }
            D::Missing { count } => write!(
                f,
                "up to {count} more leaves of the trees may be lost, with the nodes that named them"
            ),
            D::Uncertain => write!(
                f,
                "some rows may be of an older state, and some that were deleted may be back: the \
                 space map cannot be read, which would tell"
            ),
            D::Log { records: 1 } => {
                write!(
                    f,
                    "1 record of the log cannot be read: what was changed by it is as it was before"
                )
            }
            D::Log { records } => write!(
                f,
                "{records} records of the log cannot be read: what was changed by them is as it \
                 was before"
            ),
            D::Transactions { count } => {
                write!(f, "{count} records of the log make no sense from some point on")
            }
            D::Unsettled { count } => write!(
                f,
                "contents that {count} of the last transactions of the log took cannot be read: \
                 the store does not open for writing"
            ),
            D::Properties => write!(f, "the store's name and tags may be gone"),
            D::Space(recount) => write!(
                f,
                "the space map is wrong: {} units are in use by nothing, {} are in use and called \
                 free, {} of its pages cannot be read",
                recount.lost, recount.unrecorded, recount.unread
            ),
        }
    }
}

/// Has the keys of a superblock unlocked.
type Unlock<'a> = dyn FnMut(&UnverifiedSuperblock) -> Result<(Slot<MetaKeys>, Arc<Rng>)> + 'a;

impl Repair {
    /// Works out a repair of a store that nobody has open, whether it can be opened or not. Needs
    /// the key of metadata, not that of contents; two provider calls, and one for each superblock
    /// that is damaged. Reads all metadata, all of the device where nodes are missing, and where
    /// `wanted` says so all contents. Writes nothing. Takes about 250 bytes of memory for each
    /// inode, and 16 KiB for each node that is made anew.
    ///
    /// # Errors
    /// [`Error::NotAStore`], [`Error::Unsupported`]; [`Error::Truncated`] where less is left than
    /// the smallest store has; [`Error::Corrupt`] where no superblock is left that opens;
    /// [`Error::Io`] where something cannot be read, tried twice, that the repair would give up,
    /// unless `wanted` says that it may; those of the provider and of the device.
    pub fn plan(
        device: Arc<dyn Device>,
        providers: &Providers,
        options: &StoreOptions,
        wanted: RepairOptions,
    ) -> Result<Repair> {
        let arena = options.arena()?;
        let unlock = |superblock: &UnverifiedSuperblock| {
            let store_id = &superblock.header.store_id;
            let slot = newest(&superblock.keys, Domain::Meta)?;
            let kek = Kek::unlock(&*providers.metadata, slot, &options.context, store_id)?;
            let meta = MetaKeys::derive(&arena, &kek.secret, store_id, kek.version)?;
            Ok((meta, Arc::new(Rng::new(&arena)?)))
        };
        let repair = Repair::plan_with(device, unlock, &options.engine, wanted)?;
        Ok(Repair { takeover: options.takeover, ..repair })
    }

    /// As [`Repair::plan`], with keys that `unlock` gives.
    #[doc(hidden)]
    pub fn plan_with(
        device: Arc<dyn Device>,
        mut unlock: impl FnMut(&UnverifiedSuperblock) -> Result<(Slot<MetaKeys>, Arc<Rng>)>,
        options: &EngineOptions,
        wanted: RepairOptions,
    ) -> Result<Repair> {
        let device_ = Arc::clone(&device);
        let planned = Repair::plan_from(device_, &mut unlock, options, wanted, false)?;
        let is_space = |damage: &Damage| matches!(damage, Damage::Space(_));
        let evidence = planned.salvage.wreck().evidence;
        if !planned.report.damage.iter().any(is_space) || evidence.found || evidence.is_older {
            return Ok(planned);
        }
        // A map that does not fit may be that of states that are newer than the superblock.
        let again = Repair::plan_from(device, &mut unlock, options, wanted, true)?;
        let evidence = again.salvage.wreck().evidence;
        Ok(if evidence.found || evidence.is_older { again } else { planned })
    }

    /// As [`Repair::plan_with`]; with `suspicious` all of the device is searched for newer states.
    fn plan_from(
        device: Arc<dyn Device>,
        unlock: &mut Unlock<'_>,
        options: &EngineOptions,
        wanted: RepairOptions,
        suspicious: bool,
    ) -> Result<Repair> {
        let mut salvage = match suspicious {
            true => Salvage::read_suspicious(Arc::clone(&device), &mut *unlock, options)?,
            false => Salvage::read(Arc::clone(&device), &mut *unlock, options)?,
        };
        let keys = salvage.engine().store_keys()?;
        let (arena, store_id) = (KeyArena::new()?, *salvage.engine().store_id());
        let hasher = NameHasher::derive(&arena, &keys.name(), &store_id)?;
        let bucket: Bucket = Box::new(move |name| {
            // A forked child has no keys, and cannot commit what it plans here.
            let hash = hasher.get().map_or(0, |hasher| hasher.hash56(name));
            (hash & ((1 << HASH_BITS) - 1)) << COOKIE_COUNTER_BITS
        });
        let mended = Mender::new(&mut salvage, bucket).run(wanted.contents)?;
        let recount = salvage.recount()?;
        let found = salvage.wreck().evidence.found;
        let mut damage = damage_of(&mut salvage);
        if recount != Recount::default() && !found {
            damage.push(Damage::Space(recount));
        }
        if !mended.changed && damage.is_empty() {
            // Whatever else an open has against the store: it is gone with the log.
            let options = EngineOptions { read_only: true, ..options.clone() };
            if let Err(error) = Engine::open(device, unlock, &options) {
                match error {
                    Error::Corrupt { .. } => damage.push(Damage::Unopened(error)),
                    error => return Err(error),
                }
            }
        }
        let needed = mended.changed || !damage.is_empty();
        if needed && let Some(error) = salvage.unread_error() {
            if !wanted.give_up_unreadable {
                return Err(error);
            }
            damage.insert(0, Damage::Unread { units: salvage.unread() });
        }
        let report = RepairReport { damage, notes: mended.notes, needed, unfinished: None };
        let accept_older = wanted.accept_older;
        Ok(Repair { salvage, report, takeover: Takeover::AtOnce, accept_older })
    }

    /// What the repair does.
    pub fn report(&self) -> &RepairReport {
        &self.report
    }

    /// Writes the repaired state; nothing where none is needed. Durable when it returns. Whenever
    /// it is interrupted, the store is as it was, or repaired.
    ///
    /// # Errors
    /// [`Error::NoSpace`] where there is no room for what changes, [`Error::ReadOnly`] from
    /// a device that was opened so, [`Error::InUseBy`] where somebody has the store open, as
    /// [`StoreOptions::takeover`] says: nothing was written. [`Error::InvalidArgument`] where the
    /// store would go back to an older state ([`Damage::Older`]) and nobody accepted that. Those
    /// of the device.
    pub fn commit(self) -> Result<RepairReport> {
        let mut report = self.report;
        if report.is_older() && !self.accept_older {
            return Err(Error::InvalidArgument("it would go back to an older state"));
        }
        if report.needed {
            report.unfinished = self.salvage.commit(self.takeover)?;
        }
        Ok(report)
    }
}

/// What is wrong below the rows.
fn damage_of(salvage: &mut Salvage) -> Vec<Damage> {
    let properties = StoreKey::Property(&[]).encode();
    let wreck = salvage.wreck_mut();
    let mut damage: Vec<Damage> = Vec::new();
    damage.extend(wreck.cut.map(|(have, need)| Damage::Cut { have, need }));
    damage.extend(std::mem::take(&mut wreck.refused).into_iter().map(Damage::Superblock));
    let nodes = std::mem::take(&mut wreck.losses.damaged);
    damage.extend(nodes.into_iter().map(Damage::Node));
    let lost = wreck.losses.leaves.iter().any(|(tree, range)| {
        *tree == crate::format::STORE_TREE
            && range.high.as_ref().is_none_or(|high| *high > properties)
    });
    let (leaves, found) = (wreck.losses.leaves.len() as u64, wreck.losses.found);
    let unlisted = wreck.losses.unlisted;
    let evidence = wreck.evidence;
    let (superblock, serves, newest) = (evidence.superblock, evidence.serves, evidence.newest);
    for (found, what) in [
        (wreck.alone, Damage::OneSuperblock),
        (wreck.outdated && !wreck.restored, Damage::Outdated(wreck.generation)),
        (wreck.restored, Damage::Restored(serves)),
        (evidence.found && !wreck.restored, Damage::Newer { superblock, serves }),
        (evidence.is_older, Damage::Older { serves, newest }),
        (wreck.no_root, Damage::NoRoot),
        (unlisted > 0, Damage::MoreNodes { count: unlisted }),
        (found > 0, Damage::ByHeader { nodes: found }),
        (leaves > 0, Damage::Leaves { count: leaves }),
        (wreck.missing > 0, Damage::Missing { count: wreck.missing }),
        (wreck.uncertain, Damage::Uncertain),
        (wreck.log.records > 0, Damage::Log { records: wreck.log.records }),
        (wreck.log.transactions > 0, Damage::Transactions { count: wreck.log.transactions }),
        (wreck.log.unread > 0, Damage::Unsettled { count: wreck.log.unread }),
        (lost, Damage::Properties),
    ] {
        if found {
            damage.push(what);
        }
    }
    damage
}
