//! The types of an object, as `bpftool --json btf dump file` prints them, with the names that they
//! have in Rust.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// All types of an object.
pub(super) struct Types {
    by_id: BTreeMap<u32, Type>,
}

#[derive(Deserialize)]
struct Dump {
    types: Vec<Type>,
}

/// One type. Which fields it has depends on its kind.
#[derive(Deserialize)]
struct Type {
    id: u32,
    kind: String,
    name: String,
    #[serde(default)]
    size: u32,
    #[serde(default)]
    type_id: u32,
    #[serde(default)]
    nr_elems: u32,
    #[serde(default)]
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    name: String,
    type_id: u32,
    bits_offset: u32,
}

/// What a type is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// An integer.
    Integer,
    /// A structure: name, type and offset in bytes of each member.
    Structure(Vec<(String, u32, u32)>),
    /// An array: type and number of its elements.
    Array(u32, u32),
}

impl Types {
    pub(super) fn parse(json: &[u8]) -> Result<Self> {
        let dump: Dump =
            serde_json::from_slice(json).context("bpftool's dump of types isn't as expected")?;
        Ok(Self { by_id: dump.types.into_iter().map(|one| (one.id, one)).collect() })
    }

    fn get(&self, id: u32) -> Result<&Type> {
        self.by_id.get(&id).with_context(|| format!("the object has no type [{id}]"))
    }

    /// The structure that defines the map of this name (libbpf's convention: a variable in
    /// `.maps`, whose members point to what they say).
    pub(super) fn map(&self, name: &str) -> Result<u32> {
        let variable = self
            .by_id
            .values()
            .find(|one| one.kind == "VAR" && one.name == name)
            .with_context(|| format!("the object has no map {name}"))?;
        Ok(variable.type_id)
    }

    /// What the member `name` of a map's definition points to.
    pub(super) fn pointee(&self, map: u32, name: &str) -> Result<u32> {
        let definition = self.get(map)?;
        let member = definition
            .members
            .iter()
            .find(|member| member.name == name)
            .with_context(|| format!("`{}` has no member `{name}`", definition.name))?;
        Ok(self.get(member.type_id)?.type_id)
    }

    /// The number that the member `name` of a map's definition stands for.
    pub(super) fn number(&self, map: u32, name: &str) -> Result<u32> {
        Ok(self.get(self.pointee(map, name)?)?.nr_elems)
    }

    pub(super) fn shape(&self, id: u32) -> Result<Shape> {
        let one = self.get(id)?;
        match one.kind.as_str() {
            "INT" => Ok(Shape::Integer),
            "ARRAY" => Ok(Shape::Array(one.type_id, one.nr_elems)),
            "STRUCT" => Ok(Shape::Structure(
                one.members
                    .iter()
                    .map(|member| (member.name.clone(), member.type_id, member.bits_offset / 8))
                    .collect(),
            )),
            kind => anyhow::bail!("`{}` is a {kind}, which a map can't show", one.name),
        }
    }

    pub(super) fn size(&self, id: u32) -> Result<u32> {
        match self.shape(id)? {
            Shape::Array(element, count) => Ok(self.size(element)? * count),
            _ => Ok(self.get(id)?.size),
        }
    }

    /// The type's name in Rust, without the modules it is in.
    pub(super) fn name(&self, id: u32) -> Result<String> {
        match self.shape(id)? {
            Shape::Array(element, count) => Ok(format!("[{}; {count}]", self.name(element)?)),
            _ => Ok(our_name(rust_name(&self.get(id)?.name))),
        }
    }
}

/// What `proxy-common` calls the key of an LPM trie, which aya composes itself of a prefix length and
/// what stands behind it.
fn our_name(name: String) -> String {
    match name.strip_prefix("Key<ServiceClient<") {
        Some(rest) => format!("SourceRangeKey<{}", rest.replace(">>", ">")),
        None => name,
    }
}

/// `Tuple_3C_proxy_common_3A__3A_address_3A__3A_V4_3E_` is `Tuple<V4>`: the kernel only takes C's
/// identifiers, so bpf-linker writes `_XX_` for other characters.
fn rust_name(name: &str) -> String {
    let mut decoded = String::new();
    let mut rest = name;
    while let Some(at) = rest.find('_') {
        let (before, escape) = rest.split_at(at);
        decoded.push_str(before);
        let code = escape
            .get(1..3)
            .filter(|_| escape.get(3..4) == Some("_"))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .filter(|code| !code.is_ascii_alphanumeric());
        let length = if code.is_some() { 4 } else { 1 };
        decoded.push(code.map_or('_', char::from));
        rest = &escape[length..];
    }
    decoded.push_str(rest);

    let mut short = String::new();
    for piece in decoded.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_' && c != ':') {
        short.push_str(piece.rsplit("::").next().unwrap_or(piece));
    }
    short
}

#[cfg(test)]
mod tests {
    use super::rust_name;

    #[test]
    fn names_are_what_they_are_in_rust() {
        assert_eq!(rust_name("u32"), "u32");
        assert_eq!(rust_name("Service"), "Service");
        assert_eq!(rust_name("Tuple_3C_proxy_common_3A__3A_address_3A__3A_V4_3E_"), "Tuple<V4>");
        assert_eq!(rust_name("Map_3C_a_3A__3A_K_2C__20_b_3A__3A_V_3E_"), "Map<K, V>");
        assert_eq!(rust_name("a_field_of_it"), "a_field_of_it");
    }
}
