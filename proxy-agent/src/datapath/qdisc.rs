//! The clsact qdiscs that were made for our filters, and how they go.
//!
//! A qdisc may be anyone's, and others may put filters into one of ours. So each that we made is noted
//! by a directory beside the pins (bpffs has those), and goes when nothing is left in it. Called by
//! [`crate::datapath::clsact`] and [`crate::datapath::cleanup`].

use std::{fs, io, path::Path};

use futures::TryStreamExt;
use rtnetlink::{
    Handle,
    packet_route::tc::{TcAttribute, TcHandle},
};

/// The name of the only kind of qdisc that we make.
const KIND: &str = "clsact";

/// Notes at `note` that the qdisc of a device was made by us.
pub(super) fn note(note: &Path) -> io::Result<()> {
    fs::create_dir_all(note)
}

/// Removes the note alone: the device is another one's, or gone.
pub(super) fn forget(note: &Path) -> io::Result<()> {
    match fs::remove_dir(note) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes the note, and the qdisc that it is about if there is no filter in it any more. Whether
/// the qdisc went; one whose device is gone went with it.
pub(super) fn release(note: &Path) -> io::Result<bool> {
    let name = note.file_name().unwrap_or_default().to_string_lossy();
    let removed = match name.parse() {
        Ok(ifindex) if note.is_dir() => remove_if_empty(ifindex)?,
        _ => return Ok(false),
    };
    fs::remove_dir(note)?;
    Ok(removed)
}

fn remove_if_empty(ifindex: i32) -> io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let result = remove(&handle, ifindex).await;
        connection.abort();
        match result {
            Ok(removed) => Ok(removed),
            Err(rtnetlink::Error::NetlinkError(error)) => {
                let error = error.to_io();
                // The device or the qdisc is gone.
                let gone = matches!(
                    error.raw_os_error(),
                    Some(libc::ENODEV | libc::ENOENT | libc::EINVAL)
                );
                if gone { Ok(false) } else { Err(error) }
            }
            Err(error) => Err(io::Error::other(error)),
        }
    })
}

/// Concurrency: a filter that somebody adds between the look and the removal goes with the qdisc.
async fn remove(handle: &Handle, ifindex: i32) -> Result<bool, rtnetlink::Error> {
    let filters = || handle.traffic_filter(ifindex);
    let ingress: Vec<_> = filters().get().ingress().execute().try_collect().await?;
    let egress: Vec<_> = filters().get().egress().execute().try_collect().await?;
    if !ingress.is_empty() || !egress.is_empty() {
        return Ok(false);
    }
    let mut request = handle.qdisc().del(ifindex);
    let message = request.message_mut();
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle { major: 0xffff, minor: 0 };
    message.attributes.push(TcAttribute::Kind(KIND.into()));
    request.execute().await.map(|()| true)
}
