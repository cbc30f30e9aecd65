//! Elements of one kind, by service id: what is wanted, what is there, what may go.
//!
//! Knows nothing of maps. Called by [`super::Belongings`], which has one for each kind.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use foldhash::HashMap;
use proxy_common::{MemberSets, ServiceId};

/// What an element says, and how it says what two of them say.
pub(super) trait Value: Copy + Eq + Debug {
    fn union(self, other: Self) -> Self;
}

impl Value for () {
    fn union(self, (): Self) -> Self {}
}

impl Value for MemberSets {
    fn union(self, other: Self) -> Self {
        Self::union(self, other)
    }
}

/// The elements of one kind.
#[derive(Debug)]
pub(super) struct Kind<K, V> {
    of: HashMap<ServiceId, Of<K, V>>,
    /// Ids that may have a surplus.
    touched: BTreeSet<ServiceId>,
}

/// The elements of one kind that one Service port has.
#[derive(Debug)]
struct Of<K, V> {
    wanted: Option<BTreeMap<K, V>>,
    /// What was wanted when the frontends were last as they should be, or found at the start, and
    /// what was wanted since then and all there: until they are as they should be again, one of
    /// them may need it.
    before: BTreeMap<K, V>,
    there: BTreeMap<K, V>,
    /// Whether the frontends are as they should be with what is wanted.
    confirmed: bool,
    /// Installed frontends that need these elements.
    frontends: u32,
}

impl<K, V> Default for Kind<K, V> {
    fn default() -> Self {
        Self { of: HashMap::default(), touched: BTreeSet::new() }
    }
}

impl<K, V> Default for Of<K, V> {
    fn default() -> Self {
        Self {
            wanted: None,
            before: BTreeMap::new(),
            there: BTreeMap::new(),
            confirmed: false,
            frontends: 0,
        }
    }
}

impl<K: Copy + Ord, V: Value> Kind<K, V> {
    /// The Service port asks for exactly this from now on; `None`, that it needs no such elements.
    pub(super) fn want(&mut self, id: ServiceId, wanted: Option<BTreeMap<K, V>>) {
        if wanted.is_none() && !self.of.contains_key(&id) {
            return;
        }
        let of = self.of.entry(id).or_default();
        if of.wanted != wanted {
            of.supersede(wanted);
        }
        self.touched.insert(id);
    }

    /// The frontends of the Service port are as they should be.
    pub(super) fn confirm(&mut self, id: ServiceId) {
        if let Some(of) = self.of.get_mut(&id) {
            of.confirmed = true;
            if of.wanted.is_some() {
                of.before.clear();
            }
        }
    }

    /// An element was found.
    pub(super) fn adopt(&mut self, id: ServiceId, key: K, value: V) {
        let of = self.of.entry(id).or_default();
        of.there.insert(key, value);
        of.before.insert(key, value);
        self.touched.insert(id);
    }

    /// A frontend that needs these elements is installed.
    pub(super) fn hold(&mut self, id: ServiceId) {
        self.of.entry(id).or_default().frontends += 1;
    }

    /// A frontend no longer needs them.
    pub(super) fn release(&mut self, id: ServiceId) {
        if let Some(of) = self.of.get_mut(&id) {
            of.frontends -= 1;
            if of.frontends == 0 {
                self.touched.insert(id);
            }
        }
    }

    /// What the Service port lacks, as it is to be written.
    pub(super) fn missing(&self, id: ServiceId) -> Vec<(K, V)> {
        let Some(of) = self.of.get(&id) else { return Vec::new() };
        of.wanted
            .iter()
            .flatten()
            .filter_map(|(key, value)| {
                let both = of.there.get(key).map_or(*value, |there| there.union(*value));
                (!of.says(key, *value)).then_some((*key, both))
            })
            .collect()
    }

    /// The map has this element. Returns whether it is new.
    pub(super) fn wrote(&mut self, id: ServiceId, key: K, value: V) -> bool {
        self.of.entry(id).or_default().there.insert(key, value).is_none()
    }

    /// Elements that say more than is needed, with what is (`None`, when nothing is).
    pub(super) fn surplus(&self) -> Vec<(ServiceId, K, Option<V>)> {
        let mut surplus = Vec::new();
        for id in &self.touched {
            let Some(of) = self.of.get(id) else { continue };
            for (key, value) in &of.there {
                let needed = of.needed(key);
                if needed != Some(*value) {
                    surplus.push((*id, *key, needed));
                }
            }
        }
        surplus
    }

    /// The map no longer has this element.
    pub(super) fn removed(&mut self, id: ServiceId, key: &K) {
        if let Some(of) = self.of.get_mut(&id) {
            of.there.remove(key);
        }
    }

    /// Whether nothing is known of any Service port.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty() && self.touched.is_empty()
    }

    /// Forgets what needs no more attention.
    pub(super) fn tidy(&mut self) {
        let of = &mut self.of;
        self.touched.retain(|id| {
            let Some(known) = of.get(id) else { return false };
            if known.wanted.is_none() && known.there.is_empty() && known.frontends == 0 {
                of.remove(id);
                return false;
            }
            !known.confirmed
                || known.there.iter().any(|(key, value)| known.needed(key) != Some(*value))
        });
    }
}

impl<K: Copy + Ord, V: Value> Of<K, V> {
    fn supersede(&mut self, wanted: Option<BTreeMap<K, V>>) {
        let old = std::mem::replace(&mut self.wanted, wanted);
        // Of what isn't all there, no frontend that needs it was written.
        if let Some(old) = old
            && (self.confirmed || old.iter().all(|(key, value)| self.says(key, *value)))
        {
            for (key, value) in old {
                let both = self.before.get(&key).map_or(value, |before| before.union(value));
                self.before.insert(key, both);
            }
        }
        self.confirmed = false;
    }

    /// Whether the element under `key` is there and says `value`, at least.
    fn says(&self, key: &K, value: V) -> bool {
        self.there.get(key).is_some_and(|there| there.union(value) == *there)
    }

    /// What the element under `key` has to say for the frontends that there are, and for those that
    /// there will be.
    fn needed(&self, key: &K) -> Option<V> {
        let wanted = self.wanted.as_ref().and_then(|wanted| wanted.get(key)).copied();
        let old_frontends = match self.wanted {
            Some(_) => !self.confirmed,
            None => self.frontends > 0,
        };
        match (wanted, self.before.get(key).filter(|_| old_frontends)) {
            (Some(wanted), Some(before)) => Some(wanted.union(*before)),
            (wanted, before) => wanted.or(before.copied()),
        }
    }
}
