//! What proxy-common's types are in maps, in a form that aya accepts.

use bytemuck::Pod;

/// A key or value of a map, as it is.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Raw<T>(pub T);

// SAFETY: bytemuck's `Pod` says that `T` has no padding and that any bytes are a `T`, which is what
// aya's asks for.
unsafe impl<T: Pod> aya::Pod for Raw<T> {}
