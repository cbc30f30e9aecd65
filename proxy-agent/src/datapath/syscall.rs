//! bpf(2), as far as aya 0.14 has no safe call for it: batches, links that are replaced in place,
//! pins of what aya keeps to itself.
//!
//! Every attribute here is the head of `union bpf_attr` (linux/bpf.h) for its command, without
//! padding. What a map's keys and values are is not known here: [`crate::datapath::raw_map`] checks
//! their lengths.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use bytemuck::{Pod, Zeroable};

/// `enum bpf_cmd` of linux/bpf.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Command {
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ObjectPin = 6,
    ObjectGet = 7,
    ProgramById = 13,
    ObjectInfo = 15,
    ProgramQuery = 16,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    MapDeleteBatch = 27,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
}

/// `BPF_MAP_*_ELEM`, `BPF_MAP_GET_NEXT_KEY`.
#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct ElementAttr {
    pub(super) map: u32,
    pub(super) pad: u32,
    pub(super) key: u64,
    /// The value, or where the next key goes.
    pub(super) value: u64,
    pub(super) flags: u64,
}

/// `BPF_MAP_*_BATCH`.
#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BatchAttr {
    pub(super) in_batch: u64,
    pub(super) out_batch: u64,
    pub(super) keys: u64,
    pub(super) values: u64,
    pub(super) count: u32,
    pub(super) map: u32,
    pub(super) element_flags: u64,
    pub(super) flags: u64,
}

#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct PathAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct InfoAttr {
    fd: u32,
    length: u32,
    info: u64,
}

#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct QueryAttr {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    pad: u32,
}

#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct LinkCreateAttr {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct LinkUpdateAttr {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// The head of `struct bpf_map_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct MapInfo {
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// The kernel's id of the map.
    pub id: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value (of one CPU's value in a per-CPU map).
    pub value_size: u32,
    /// How many elements it has room for.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
}

impl MapInfo {
    /// Whether it has all its elements at all times.
    pub(super) fn is_array(&self) -> bool {
        // BPF_MAP_TYPE_ARRAY, _PERCPU_ARRAY
        matches!(self.kind, 2 | 6)
    }

    /// Whether its elements are to be had as memory (kernel ≥ 5.5).
    pub(super) fn is_mappable(&self) -> bool {
        /// `BPF_F_MMAPABLE`
        const MAPPABLE: u32 = 1 << 10;
        self.flags & MAPPABLE != 0
    }

    /// Whether a look-up returns one value for each CPU.
    pub(super) fn is_per_cpu(&self) -> bool {
        // BPF_MAP_TYPE_PERCPU_HASH, _PERCPU_ARRAY, _LRU_PERCPU_HASH, _PERCPU_CGROUP_STORAGE
        matches!(self.kind, 5 | 6 | 10 | 21)
    }
}

/// The head of `struct bpf_link_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct LinkInfo {
    /// `enum bpf_link_type`.
    pub kind: u32,
    /// The kernel's id of the link.
    pub id: u32,
    /// The id of the program it runs.
    pub program: u32,
    pad: u32,
    target: [u32; 2],
    attach_type: u32,
    pad_end: u32,
}

impl LinkInfo {
    /// The device of a TCX link; 0 once it is gone.
    #[must_use]
    pub fn ifindex(&self) -> u32 {
        self.target[0]
    }

    /// The cgroup of a cgroup link: the inode number of its directory.
    #[must_use]
    pub fn cgroup_id(&self) -> u64 {
        bytemuck::cast(self.target)
    }
}

/// The head of `struct bpf_prog_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ProgramInfo {
    /// `enum bpf_prog_type`.
    pub kind: u32,
    /// The kernel's id of the program.
    pub id: u32,
    /// The first bytes of the hash over its instructions.
    pub tag: [u8; 8],
    lengths: [u32; 2],
    pointers: [u64; 2],
    /// When it was loaded, in nanoseconds since boot.
    pub loaded_at: u64,
    owner_and_maps: [u32; 2],
    map_ids: u64,
    /// Its name, NUL-padded.
    pub name: [u8; 16],
}

/// Where on a device or cgroup a link goes (`enum bpf_attach_type`), and before or after others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attachment {
    pub(super) attach_type: u32,
    pub(super) flags: u32,
}

/// Room for any `union bpf_attr`, whatever a later kernel adds to it: 168 bytes in Linux 6.18.
///
/// The kernel reads as much of an attribute as it is told that there is, but what it answers it writes
/// wherever the union has it: `BPF_PROG_QUERY` of 6.6 and later writes `revision` at byte 56, also for
/// those who know no more than the first 32.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Room([u64; 64]);

impl Room {
    /// Room that begins with `attr`.
    fn of<A: Pod>(attr: &A) -> Self {
        let mut room = Self::zeroed();
        bytemuck::bytes_of_mut(&mut room)[..size_of::<A>()]
            .copy_from_slice(bytemuck::bytes_of(attr));
        room
    }

    /// What the attribute at the beginning has become.
    fn attr<A: Pod>(&self) -> A {
        bytemuck::pod_read_unaligned(&bytemuck::bytes_of(self)[..size_of::<A>()])
    }
}

/// Runs one bpf(2) command.
///
/// # Safety
/// Every address in `attr` must be that of memory that lives until the call returns and is as long
/// as the kernel takes it to be.
pub(super) unsafe fn bpf<A: Pod>(command: Command, attr: &mut A) -> io::Result<i32> {
    let mut room = Room::of(attr);
    // SAFETY: `room` is as long as the kernel's own attribute, so that it writes into nothing else; it
    // treats what is beyond the given length as zero. The caller vouches for what `attr` points to.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, &raw mut room, size_of::<A>())
    };
    *attr = room.attr();
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs a command whose attribute holds no address.
fn bpf_plain<A: Pod>(command: Command, attr: &mut A) -> io::Result<i32> {
    // SAFETY: there is no address in it.
    unsafe { bpf(command, attr) }
}

/// A descriptor as bpf(2) wants it.
pub(super) fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: bpf(2) has just returned it as a new descriptor that nobody else knows.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn at_path(command: Command, path: &Path, fd: u32) -> io::Result<i32> {
    let path = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut attr = PathAttr { path: path.as_ptr().expose_provenance() as u64, fd, flags: 0 };
    // SAFETY: `path` lives until the end of this function and ends in NUL.
    unsafe { bpf(command, &mut attr) }
}

/// Pins an object at `path`, which must not exist.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    at_path(Command::ObjectPin, path, number(object)).map(drop)
}

/// Opens what is pinned at `path`.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    at_path(Command::ObjectGet, path, 0).map(owned)
}

/// What the kernel knows of an object: as much as fits `I`, which is the head of its kind's
/// `bpf_*_info`.
pub(super) fn info<I: Pod>(object: BorrowedFd<'_>) -> io::Result<I> {
    let mut info = I::zeroed();
    let length = u32::try_from(size_of::<I>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let address = (&raw mut info).expose_provenance() as u64;
    let mut attr = InfoAttr { fd: number(object), length, info: address };
    // SAFETY: `info` lives until the end of this function and is `length` bytes long.
    unsafe { bpf(Command::ObjectInfo, &mut attr) }?;
    Ok(info)
}

/// Opens the program with the kernel's id `id`.
pub(super) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    bpf_plain(Command::ProgramById, &mut [id, 0, 0]).map(owned)
}

/// The name of the program with the kernel's id `id`; takes `CAP_SYS_ADMIN`.
pub(super) fn program_name(id: u32) -> io::Result<String> {
    let program: ProgramInfo = info(program_by_id(id)?.as_fd())?;
    let name = program.name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// The id of the program that is pinned at `path`.
pub(super) fn pinned_program(path: &Path) -> io::Result<u32> {
    let program: ProgramInfo = info(open(path)?.as_fd())?;
    Ok(program.id)
}

/// The ids of the programs at a cgroup's hook, and the flags that they were attached with.
pub(super) fn attached_to_cgroup(
    cgroup: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<(Vec<u32>, u32)> {
    query(number(cgroup), attach_type)
}

/// The ids of the programs at a device's TCX hook.
pub(super) fn attached_to_device(ifindex: u32, attach_type: u32) -> io::Result<Vec<u32>> {
    query(ifindex, attach_type).map(|(programs, _)| programs)
}

fn query(target: u32, attach_type: u32) -> io::Result<(Vec<u32>, u32)> {
    /// `BPF_CGROUP_MAX_PROGS` and `BPF_MPROG_MAX`.
    const MOST: u32 = 64;
    let mut programs = vec![0u32; MOST as usize];
    let address = programs.as_mut_ptr().expose_provenance() as u64;
    let mut attr =
        QueryAttr { target, attach_type, programs: address, count: MOST, ..QueryAttr::zeroed() };
    // SAFETY: `programs` lives until the end of this function and has room for `count` ids.
    unsafe { bpf(Command::ProgramQuery, &mut attr) }?;
    programs.truncate(attr.count as usize);
    Ok((programs, attr.attach_flags))
}

/// Attaches a program. `target` is a cgroup's descriptor or an ifindex.
pub(super) fn link_create(
    program: BorrowedFd<'_>,
    target: u32,
    Attachment { attach_type, flags }: Attachment,
) -> io::Result<OwnedFd> {
    let mut attr = LinkCreateAttr { program: number(program), target, attach_type, flags };
    bpf_plain(Command::LinkCreate, &mut attr).map(owned)
}

/// Replaces the program of a link: the next packet runs the new one, none runs without.
pub(super) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr =
        LinkUpdateAttr { link: number(link), program: number(program), flags: 0, old_program: 0 };
    bpf_plain(Command::LinkUpdate, &mut attr).map(drop)
}

/// Detaches a link at once, whoever else holds it open.
pub(super) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf_plain(Command::LinkDetach, &mut number(link)).map(drop)
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;

    use super::{QueryAttr, Room};

    #[test]
    fn what_the_kernel_writes_behind_an_attribute_has_room() {
        let attr = QueryAttr { target: 1, attach_type: 46, count: 64, ..QueryAttr::zeroed() };
        let mut room = Room::of(&attr);
        // `query.count`, and `query.revision`, as bpf_mprog_query() writes them.
        let bytes: &mut [u8] = bytemuck::bytes_of_mut(&mut room);
        bytes[24..28].copy_from_slice(&3_u32.to_ne_bytes());
        bytes[56..64].copy_from_slice(&1_u64.to_ne_bytes());
        let attr: QueryAttr = room.attr();
        assert_eq!((attr.target, attr.attach_type, attr.count), (1, 46, 3));
    }
}
