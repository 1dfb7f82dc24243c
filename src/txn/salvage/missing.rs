//! Leaves that are lost together with the node that named them: the space map tells whether there
//! can be any.

use super::Salvage;
use crate::error::Result;
use crate::limits::{NODE_UNITS, REGION_UNITS};
use crate::txn::check::Owners;

impl Salvage {
    /// Counts the places of nodes that are in use and that nothing owns, `known` and the places of
    /// nodes that are known to be lost left out. Where there is none, nothing stood between the
    /// leaves that were found.
    pub(super) fn find_missing(&mut self, known: &Owners) -> Result<()> {
        let losses = &self.wreck.losses;
        if losses.gaps.is_empty() {
            return Ok(());
        }
        let mut known = known.clone();
        // Nodes that are made anew over other children stood somewhere too.
        for &unit in losses.failed.iter().chain(&losses.nodes) {
            known.own(unit, NODE_UNITS);
        }
        let (mut missing, mut unknown) = (0, 0);
        self.engine.space.visit_live(
            |region, homes, live| {
                let mut rest = live.clone();
                rest.clear(0..homes);
                if let Some(known) = known.regions.get(&region) {
                    rest.clear_all(known);
                }
                if rest.count() >= NODE_UNITS {
                    let places = (0..REGION_UNITS).step_by(NODE_UNITS as usize);
                    missing += places.filter(|at| rest.all(*at..at + NODE_UNITS)).count() as u64;
                }
            },
            |_, _| unknown += 1,
        )?;
        self.wreck.missing = missing.max(unknown);
        Ok(())
    }
}
