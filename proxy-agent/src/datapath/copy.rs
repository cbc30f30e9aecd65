//! What one map holds, brought into another of another size or layout.
//!
//! Knows bytes, and of flows what two copies of one have to agree on. Called by
//! [`crate::datapath::moving`].

use std::io;

use bytemuck::Zeroable as _;
use proxy_common::{Flow, FlowFlags, Nanoseconds, V4, V6};

use super::{
    layouts::Convert,
    raw_map::RawMap,
    syscall::{self, MapInfo},
};

/// What became of the elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// Those that are in the new map now.
    pub(super) elements: usize,
    /// Those that it had no room for, or that have no place in the new layout.
    pub(super) left_out: usize,
}

/// Opens what is pinned at `path`.
pub(super) fn open(path: &std::path::Path) -> io::Result<(RawMap, MapInfo)> {
    use std::os::fd::AsFd as _;
    let map = syscall::open(path)?;
    let info: MapInfo = syscall::info(map.as_fd())?;
    let cpus =
        if info.is_per_cpu() { aya::util::nr_cpus().map_err(|(_, error)| error)? } else { 1 };
    Ok((RawMap::new(map, &info, cpus), info))
}

/// How many elements a map has that can be counted: all but those of an array.
pub(super) fn count(map: &RawMap) -> io::Result<usize> {
    let (mut count, (key_size, _)) = (0, map.sizes());
    map.for_each_batch(|keys, _| count += keys.len() / key_size)?;
    Ok(count)
}

/// Fills a map that nobody uses yet, from one that may change meanwhile.
pub(super) fn fill(from: &RawMap, to: &RawMap, convert: Option<Convert>) -> io::Result<Copied> {
    let mut copied = Copied::default();
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    each_batch(from, |batch| {
        keys.clear();
        values.clear();
        let mut count = 0;
        for (key, value) in batch {
            // A new array has zeroes.
            if from.is_array() && value.iter().all(|byte| *byte == 0) {
                continue;
            }
            match convert {
                None => {
                    keys.extend_from_slice(key);
                    values.extend_from_slice(value);
                }
                Some(convert) => match convert(key, value) {
                    Some((key, value)) => {
                        keys.extend_from_slice(&key);
                        values.extend_from_slice(&value);
                    }
                    None => {
                        copied.left_out += 1;
                        continue;
                    }
                },
            }
            count += 1;
        }
        match to.update_many(&keys, &values) {
            Ok(()) => copied.elements += count,
            Err((done, error)) if is_full(&error) => {
                copied.elements += done;
                copied.left_out += count - done;
            }
            Err((_, error)) => return Err(error),
        }
        Ok(())
    })?;
    Ok(copied)
}

/// Brings what is missing into a map that programs use already; what is there stays.
pub(super) fn join(from: &RawMap, to: &RawMap, convert: Option<Convert>) -> io::Result<Copied> {
    let mut copied = Copied::default();
    each_batch(from, |batch| {
        for (key, value) in batch {
            let converted = convert.map(|convert| convert(key, value));
            let (key, value) = match &converted {
                None => (key, value),
                Some(Some((key, value))) => (&key[..], &value[..]),
                Some(None) => {
                    copied.left_out += 1;
                    continue;
                }
            };
            match to.insert(key, value) {
                Ok(inserted) => copied.elements += usize::from(inserted),
                Err(error) if is_full(&error) => copied.left_out += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })?;
    Ok(copied)
}

/// Has flows that both tables have agree on whether they are over, as far as they were met since
/// `since`. Tables of another layout are left alone.
pub(super) fn agree_on_ends(from: &RawMap, to: &RawMap, since: Nanoseconds) -> io::Result<()> {
    each_batch(from, |batch| {
        for (key, value) in batch {
            if last_seen(value).is_some_and(|seen| seen >= since) {
                agree(to, key, value)?;
            }
        }
        Ok(())
    })
}

/// The map has no room for another element.
fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC))
}

fn each_batch(
    map: &RawMap,
    mut visit: impl FnMut(&mut dyn Iterator<Item = (&[u8], &[u8])>) -> io::Result<()>,
) -> io::Result<()> {
    let (key_size, value_size) = map.sizes();
    let mut result = Ok(());
    map.for_each_batch(|keys, values| {
        if result.is_ok() {
            let mut elements = keys.chunks_exact(key_size).zip(values.chunks_exact(value_size));
            result = visit(&mut elements);
        }
    })?;
    result
}

/// When the flow was last seen; `None` when the value is no flow.
fn last_seen(value: &[u8]) -> Option<Nanoseconds> {
    if value.len() == size_of::<Flow<V4>>() {
        Some(bytemuck::pod_read_unaligned::<Flow<V4>>(value).last_seen)
    } else if value.len() == size_of::<Flow<V6>>() {
        Some(bytemuck::pod_read_unaligned::<Flow<V6>>(value).last_seen)
    } else {
        None
    }
}

/// Has the element under `key` of `to` know what `value`, another copy of the same flow, knows of its
/// end.
///
/// Concurrency: a program may be changing the flow between our look and our write. Then a packet is
/// missing from its counts; a FIN that it notes in that moment is noted again with the next packet.
fn agree(to: &RawMap, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut there = vec![0; value.len()];
    if value.len() != to.sizes().1 || !to.lookup(key, &mut there)? {
        return Ok(());
    }
    if merge::<V4>(&mut there, value) || merge::<V6>(&mut there, value) {
        to.update(key, &there)?;
    }
    Ok(())
}

/// Adds to `there` what `other` has of flags that stay. Whether there was something.
fn merge<A: proxy_common::Address>(there: &mut [u8], other: &[u8]) -> bool {
    if there.len() != size_of::<Flow<A>>() {
        return false;
    }
    let mut flow = Flow::<A>::zeroed();
    bytemuck::bytes_of_mut(&mut flow).copy_from_slice(there);
    let other: Flow<A> = bytemuck::pod_read_unaligned(other);
    let mut flags = flow.flags;
    for flag in [FlowFlags::FIN, FlowFlags::ANSWERED] {
        if other.flags.contains(flag) {
            flags = flags.union(flag);
        }
    }
    if flags == flow.flags || other.created != flow.created {
        return false;
    }
    flow.flags = flags;
    there.copy_from_slice(bytemuck::bytes_of(&flow));
    true
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;
    use proxy_common::{Flow, FlowFlags, Nanoseconds, V4, V6};

    use super::{last_seen, merge};

    fn flow(created: u64, flags: FlowFlags) -> Flow<V6> {
        let created = Nanoseconds::new(created);
        Flow { created, last_seen: Nanoseconds::new(9), flags, ..Flow::zeroed() }
    }

    fn merged(one: &Flow<V6>, other: &Flow<V6>) -> Option<Flow<V6>> {
        let mut there = bytemuck::bytes_of(one).to_vec();
        assert!(!merge::<V4>(&mut there, bytemuck::bytes_of(other)), "of the other family");
        let changed = merge::<V6>(&mut there, bytemuck::bytes_of(other));
        changed.then(|| bytemuck::pod_read_unaligned(&there))
    }

    #[test]
    fn the_end_of_a_flow_that_one_copy_has_seen_is_known_to_both() {
        let (open, closing) = (FlowFlags::REPLY, FlowFlags::FIN.union(FlowFlags::REPLY));
        let both = merged(&flow(1, open), &flow(1, closing)).unwrap();
        assert!(both.flags.contains(closing));
        assert_eq!(merged(&flow(1, closing), &flow(1, open)), None);
        // A reset is believed by whoever saw the last packet.
        assert_eq!(merged(&flow(1, open), &flow(1, open.union(FlowFlags::RST))), None);
    }

    #[test]
    fn a_later_flow_of_the_same_tuple_is_another_one() {
        assert_eq!(merged(&flow(2, FlowFlags::empty()), &flow(1, FlowFlags::FIN)), None);
    }

    #[test]
    fn what_is_no_flow_has_no_time() {
        assert_eq!(last_seen(bytemuck::bytes_of(&flow(1, FlowFlags::empty()))).unwrap().get(), 9);
        assert_eq!(last_seen(&[0; 12]), None);
    }
}
