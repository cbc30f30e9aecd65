//! `bytemuck::Pod` for the generic structures. The only unsafe code of the crate.
//!
//! `#[derive(Pod)]` refuses generic structures because it can't check them for padding. Here the
//! family is one of two, so both are checked: the sizes of the fields add up to the size of the
//! structure, and every field is itself `Pod`. That is what the derive checks (ADR 0002).

use bytemuck::{Pod, Zeroable};

use crate::{
    Address, AffinityKey, Backend, Flow, FragmentKey, Frontend, Prefix, ServiceClient, SocketKey,
    SocketPeer, SourceRangeKey, Tuple, V4, V6,
};

const fn size_of_field<S, T: Pod>(_: fn(&S) -> &T) -> usize {
    size_of::<T>()
}

macro_rules! pod {
    ($($structure:ident { $($field:ident),* $(,)? })*) => {$(
        const _: () = assert!(
            size_of::<$structure<V4>>()
                == 0 $(+ size_of_field(|s: &$structure<V4>| &s.$field))*
        );
        const _: () = assert!(
            size_of::<$structure<V6>>()
                == 0 $(+ size_of_field(|s: &$structure<V6>| &s.$field))*
        );
        // SAFETY: the structure is `repr(C)` of integers, and zero is a value of each.
        unsafe impl<A: Address> Zeroable for $structure<A> {}
        // SAFETY: `repr(C)`, `Copy`, every field is `Pod`, and the assertions above leave no
        // room for padding in either family.
        unsafe impl<A: Address> Pod for $structure<A> {}
    )*};
}

pod! {
    AffinityKey { client, service }
    Backend { address, port, flags }
    Flow { created, last_seen, packets, bytes, address, port, other_port, service, flags, kind, pad16, backend,
           align }
    FragmentKey { source, destination, identification, protocol, hook, pad16 }
    Frontend { address, port, protocol, pad }
    Prefix { network, mask }
    SocketKey { cookie, address, port, pad16, pad32, align }
    SocketPeer { address, port, pad16, service, backend }
    ServiceClient { service, address }
    SourceRangeKey { prefix_len, data }
    Tuple { source, destination, source_port, destination_port, protocol, pad, pad16 }
}
