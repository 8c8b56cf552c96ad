//! What a trail says is still open: grants whose values were handed out and not released, and leases that were not ended. A
//! broker that starts goes on with both.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::record::{Asked, Event, Line, Verdict};
use crate::backend::{LeaseId, Leased};

/// After how long a grant that was never released is not counted any more, milliseconds: a day.
pub const FORGET_MS: i64 = 24 * 3600 * 1000;

/// What is open at the end of a trail.
#[derive(Debug, Default)]
pub struct Outstanding {
    /// The highest counter of the builtin file that the trail speaks of, 0 where there is none.
    pub file_counter: u64,
    /// Grants that were handed out and not released: by `jti`, the worker and the grant's facts.
    pub held: BTreeMap<String, (String, Asked)>,
    /// Leases that were not ended, with their grants.
    pub leases: BTreeMap<(String, LeaseId), (String, Leased)>,
}

/// Reads the trail in a broker's folder. It is only as good as the trail: verify that too.
pub fn outstanding(folder: &Path, now_ms: i64) -> Outstanding {
    let mut found = Outstanding::default();
    let Ok(file) = File::open(folder.join("audit.jsonl")) else { return found };
    for bytes in BufReader::new(file).split(b'\n').map_while(Result::ok) {
        let Ok(line) = serde_json::from_slice::<Line>(&bytes) else { continue };
        let recent = line.time_ms > now_ms - FORGET_MS;
        match line.event {
            Event::Started { file_counter } | Event::Stopped { file_counter } => {
                found.file_counter = found.file_counter.max(file_counter);
            }
            Event::Open { decision: Verdict::Sealed, worker, grant: Some(asked), leased, .. } => {
                for (_, lease) in found.leases.values_mut().filter(|(grant, _)| *grant == asked.grant) {
                    lease.parts.extend(leased.iter().cloned());
                }
                if recent {
                    found.held.insert(asked.grant.clone(), (worker, asked));
                }
            }
            Event::Released { grant, .. } => {
                found.held.remove(&grant);
            }
            Event::Leased { grant, lease, .. } => {
                found.leases.insert((lease.scheme.clone(), lease.id.clone()), (grant, lease));
            }
            Event::LeaseEnded { scheme, lease, .. } => {
                found.leases.remove(&(scheme, lease));
            }
            _ => {}
        }
    }
    found
}
