//! Clients that stay with their endpoint: those that have been away for too long are forgotten.
//!
//! The datapath itself honours no element that is too old; removing them makes room and lets `sluice
//! affinity` show what counts. Called by [`crate::flows::sweeper`].

use std::{collections::HashMap, time::Duration};

use proxy_common::{Affinity, AffinityKey, Nanoseconds, Seconds, ServiceId};

use super::expiry::idle;
use crate::datapath::{
    map::{Map, MapError},
    tables::Family,
};

/// How long an element of a Service without session affinity is kept: the Service may have turned
/// it on after the timeouts were read.
const UNKNOWN: Duration = Duration::from_secs(600);
/// Elements that are looked at once more before they are removed together.
const BATCH: usize = 256;

/// How long a client of `service` stays, at most.
fn timeout(service: ServiceId, timeouts: &HashMap<ServiceId, Seconds>) -> Duration {
    timeouts.get(&service).map_or(UNKNOWN, |seconds| Duration::from_secs(seconds.get().into()))
}

/// Removes elements of `map` whose client has been away for longer than its Service allows. How many.
///
/// # Errors
/// When the map can't be read or written.
pub fn expire<A: Family>(
    map: &Map<AffinityKey<A>, Affinity>,
    timeouts: &HashMap<ServiceId, Seconds>,
    now: Nanoseconds,
) -> Result<usize, MapError> {
    let is_over = |key: &AffinityKey<A>, element: &Affinity| {
        idle(element.last_seen, now) > timeout(key.service, timeouts)
    };
    let mut over = Vec::new();
    map.for_each(|key, element| {
        if is_over(&key, &element) {
            over.push(key);
        }
    })?;
    let mut removed = 0;
    for keys in over.chunks(BATCH) {
        // Concurrency: a client that comes back between this look and the removal picks an endpoint
        // anew with its next connection; its old one had been let go anyway.
        let mut still = Vec::with_capacity(keys.len());
        for key in keys {
            if map.get(key)?.is_some_and(|element| is_over(key, &element)) {
                still.push(*key);
            }
        }
        removed += map.delete_all(&still)?;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use proxy_common::{Seconds, ServiceId};

    use super::{UNKNOWN, timeout};

    #[test]
    fn a_service_that_is_not_known_yet_keeps_its_clients_for_a_while() {
        let known = HashMap::from([(ServiceId::new(7), Seconds::new(60))]);
        assert_eq!(timeout(ServiceId::new(7), &known), Duration::from_secs(60));
        assert_eq!(timeout(ServiceId::new(8), &known), UNKNOWN);
    }
}
