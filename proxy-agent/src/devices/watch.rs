//! Follows devices, addresses and default routes over rtnetlink.
//!
//! Sends a [`Snapshot`] whenever something that matters has changed. Changes that come together
//! make one snapshot. Where the kernel could not deliver (`ENOBUFS`), everything is listed again.
//! Called by [`crate::agent`], as a task of its own.

use std::{collections::BTreeSet, convert::Infallible, io, time::Duration};

use futures::{StreamExt, TryStreamExt, channel::mpsc::UnboundedReceiver};
use rtnetlink::{
    Handle, IpVersion, MulticastGroup, RouteMessageBuilder,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{AddressFamily, RouteNetlinkMessage, link::LinkExtentMask},
    sys::SocketAddr,
};
use tokio::sync::mpsc;

use super::{
    Device, Snapshot,
    addresses::Assigned,
    inventory::{Ask, DefaultRoute, Inventory, Link},
    message,
    selector::Selector,
};

/// How long to wait before netlink is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// Why devices can't be followed.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No netlink socket.
    #[error("opening a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// A list could not be had.
    #[error("listing {what} over netlink: {source}")]
    List {
        /// What was to be listed.
        what: &'static str,
        /// What the kernel said.
        source: rtnetlink::Error,
    },
    /// The socket was closed.
    #[error("the netlink socket was closed")]
    Closed,
    /// Nobody receives snapshots any more.
    #[error("nobody receives the devices")]
    NoReceiver,
}

type Messages = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

const GROUPS: &[MulticastGroup] = &[
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// Follows the devices for ever, and sends a snapshot first and at every change.
///
/// # Errors
/// When nobody receives them any more; anything else is logged and tried again.
pub async fn run(
    selector: Selector,
    snapshots: mpsc::Sender<Snapshot>,
) -> Result<Infallible, WatchError> {
    let mut last = None;
    loop {
        match follow(&selector, &snapshots, &mut last).await {
            Ok(never) => match never {},
            Err(error @ WatchError::NoReceiver) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "devices are not followed; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The devices with a role as they are now.
///
/// # Errors
/// See [`WatchError`].
pub async fn look(selector: &Selector) -> Result<Vec<Device>, WatchError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(WatchError::Open)?;
    let _connection = AbortOnDrop(tokio::spawn(connection));
    let mut inventory = Inventory::default();
    inventory.set_links(list_links(&handle).await?);
    inventory.set_addresses(list_addresses(&handle).await?);
    inventory.set_default_routes(list_default_routes(&handle).await?);
    Ok(inventory.snapshot(selector).devices)
}

async fn follow(
    selector: &Selector,
    snapshots: &mpsc::Sender<Snapshot>,
    last: &mut Option<Snapshot>,
) -> Result<Infallible, WatchError> {
    let (connection, handle, mut messages) =
        rtnetlink::new_multicast_connection(GROUPS).map_err(WatchError::Open)?;
    let _connection = AbortOnDrop(tokio::spawn(connection));
    let mut inventory = Inventory::default();
    let mut all = true;
    let mut ask = Ask::default();
    loop {
        if all || ask.links {
            inventory.set_links(list_links(&handle).await?);
        }
        if all {
            inventory.set_addresses(list_addresses(&handle).await?);
        }
        if all || ask.routes {
            inventory.set_default_routes(list_default_routes(&handle).await?);
        }
        let snapshot = inventory.snapshot(selector);
        if last.as_ref() != Some(&snapshot) {
            *last = Some(snapshot.clone());
            snapshots.send(snapshot).await.map_err(|_| WatchError::NoReceiver)?;
        }
        (all, ask) = take_in(&mut inventory, &mut messages).await?;
    }
}

/// Waits for a message and takes in all that have come. Whether everything has to be listed again,
/// and what else.
async fn take_in(
    inventory: &mut Inventory,
    messages: &mut Messages,
) -> Result<(bool, Ask), WatchError> {
    let mut overrun = false;
    let mut ask = Ask::default();
    let mut next = Some(messages.next().await.ok_or(WatchError::Closed)?);
    while let Some((message, _)) = next {
        match message.payload {
            NetlinkPayload::InnerMessage(message) => {
                if let Some(change) = message::change(&message) {
                    let more = inventory.apply(change);
                    ask = Ask { links: ask.links | more.links, routes: ask.routes | more.routes };
                }
            }
            NetlinkPayload::Overrun(_) => {
                tracing::info!("netlink lost messages; listing devices again");
                overrun = true;
            }
            _ => {}
        }
        next = messages.try_recv().ok();
    }
    Ok((overrun, ask))
}

async fn list_links(handle: &Handle) -> Result<Vec<Link>, WatchError> {
    handle
        .link()
        .get()
        .set_filter_mask(AddressFamily::Unspec, vec![LinkExtentMask::SkipStats])
        .execute()
        .try_filter_map(async |message| Ok(message::link(&message)))
        .try_collect()
        .await
        .map_err(|source| WatchError::List { what: "devices", source })
}

async fn list_addresses(handle: &Handle) -> Result<Vec<(u32, Assigned)>, WatchError> {
    handle
        .address()
        .get()
        .execute()
        .try_filter_map(async |message| Ok(message::address(&message)))
        .try_collect()
        .await
        .map_err(|source| WatchError::List { what: "addresses", source })
}

async fn list_default_routes(handle: &Handle) -> Result<BTreeSet<DefaultRoute>, WatchError> {
    let mut found = BTreeSet::new();
    for version in [IpVersion::V4, IpVersion::V6] {
        let request = match version {
            IpVersion::V4 => RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
            IpVersion::V6 => RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
        };
        let mut routes = handle.route().get(request).execute();
        while let Some(route) =
            routes.try_next().await.map_err(|source| WatchError::List { what: "routes", source })?
        {
            found.append(&mut message::default_routes(&route));
        }
    }
    Ok(found)
}

/// The task that serves the socket ends with the loop that listens to it.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
