//! The EndpointSlices of one Service.

use super::EndpointSlice;

/// EndpointSlices, each name once, in the order of their names. All of one namespace.
///
/// Nearly every Service has one or two: a node of a B-tree would take room for eleven.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Slices {
    slices: Vec<EndpointSlice>,
}

impl Slices {
    /// The slice `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&EndpointSlice> {
        self.place(name).ok().map(|index| &self.slices[index])
    }

    /// Adds `slice`, or puts it in the place of the one that has its name.
    pub fn insert(&mut self, slice: EndpointSlice) {
        match self.place(&slice.name.name) {
            Ok(index) => self.slices[index] = slice,
            Err(index) => {
                // A vector would make room for four.
                self.slices.reserve_exact(1);
                self.slices.insert(index, slice);
            }
        }
    }

    /// Takes the slice `name` away.
    pub fn remove(&mut self, name: &str) -> Option<EndpointSlice> {
        self.place(name).ok().map(|index| self.slices.remove(index))
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, EndpointSlice> {
        self.slices.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.slices.binary_search_by(|slice| (*slice.name.name).cmp(name))
    }
}

impl<'a> IntoIterator for &'a Slices {
    type Item = &'a EndpointSlice;
    type IntoIter = std::slice::Iter<'a, EndpointSlice>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::Slices;
    use crate::model::{EndpointSlice, Family, NamespacedName};

    fn slice(name: &str, family: Family) -> EndpointSlice {
        EndpointSlice {
            name: NamespacedName::new("default", name),
            service: None,
            family,
            ports: Vec::new(),
            endpoints: Vec::new(),
        }
    }

    fn names(slices: &Slices) -> Vec<&str> {
        slices.iter().map(|slice| &*slice.name.name).collect()
    }

    #[test]
    fn each_name_is_there_once_and_in_order() {
        let mut slices = Slices::default();
        for name in ["b", "c", "a", "b"] {
            slices.insert(slice(name, Family::V4));
        }
        assert_eq!(names(&slices), ["a", "b", "c"]);
        slices.insert(slice("b", Family::V6));
        assert_eq!(slices.get("b").map(|slice| slice.family), Some(Family::V6));
        assert!(slices.remove("b").is_some() && slices.remove("b").is_none());
        assert_eq!(names(&slices), ["a", "c"]);
        assert!(!slices.is_empty() && Slices::default().is_empty());
    }
}
