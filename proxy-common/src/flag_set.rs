//! What every set of flags can do, once.
//!
//! A set is a struct with one field, `bits`; its flags are constants beside it, where `docs/maps.md`
//! finds them. Four operations are not worth a dependency of the datapath.

/// Gives the struct `$set`, whose field `bits` is an integer, the operations of a set.
macro_rules! flag_set {
    ($set:ident) => {
        impl $set {
            /// Nothing.
            #[must_use]
            pub const fn empty() -> Self {
                Self { bits: 0 }
            }

            /// Whether all of `other` is in it.
            #[inline(always)]
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.bits & other.bits == other.bits
            }

            /// All that is in it or in `other`.
            #[inline(always)]
            #[must_use]
            pub const fn union(self, other: Self) -> Self {
                Self { bits: self.bits | other.bits }
            }

            /// What is in it and not in `other`.
            #[inline(always)]
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self { bits: self.bits & !other.bits }
            }
        }
    };
}
