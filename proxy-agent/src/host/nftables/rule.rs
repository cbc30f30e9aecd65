//! What a rule says, as far as anybody here asks: which chains it leads to, and whether it drops
//! what connection tracking finds invalid.
//!
//! Pure. Called by [`super::NfTables`].

use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute,
    Operator, RuleAttribute, Verdict, VerdictAttribute,
};
use rtnetlink::packet_core::{DefaultNla, Nla};

use super::{Family, Table};

/// Attributes of the expression `ct` (linux/netfilter/nf_tables.h).
const CT_KEY: u16 = 2;
/// `NFT_CT_STATE`.
const CT_STATE: u32 = 0;
/// `NF_CT_STATE_INVALID_BIT` of linux/netfilter/nf_conntrack_common.h.
const INVALID: u32 = 1;
/// `NF_DROP`.
const DROP: Verdict = Verdict::Other(0);
/// Attributes of the expression `match`, which is one of iptables.
const MATCH_NAME: u16 = 1;
const MATCH_INFO: u16 = 3;
/// `XT_CONNTRACK_STATE` of linux/netfilter/xt_conntrack.h.
const MATCHES_STATE: u16 = 1;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its table.
    pub table: Table,
    /// Its chain.
    pub chain: String,
    /// Its number.
    pub handle: u64,
    /// The chain that it leads to.
    pub target: Option<String>,
    /// It drops packets that connection tracking finds invalid.
    pub drops_invalid: bool,
}

impl Rule {
    pub(super) fn read(family: Family, attributes: &[RuleAttribute]) -> Option<Self> {
        let (mut table, mut chain, mut number) = (None, None, None);
        let mut steps = Vec::new();
        for attribute in attributes {
            match attribute {
                RuleAttribute::Table(name) => table = Some(name.clone()),
                RuleAttribute::Chain(name) => chain = Some(name.clone()),
                RuleAttribute::Handle(handle) => number = Some(*handle),
                RuleAttribute::Expressions(list) => steps = expressions(list),
                _ => {}
            }
        }
        Some(Self {
            table: Table { family, name: table? },
            chain: chain?,
            handle: number?,
            target: steps.iter().find_map(|step| target(step)),
            drops_invalid: drops_invalid(&steps),
        })
    }
}

fn expressions(list: &[ListAttribute<ExpressionAttribute>]) -> Vec<&Expressions> {
    let parts = list.iter().filter_map(|element| match element {
        ListAttribute::Element(parts) => Some(parts),
        _ => None,
    });
    let data = parts.flatten().filter_map(|part| match part {
        ExpressionAttribute::Data(data) => Some(data),
        _ => None,
    });
    data.collect()
}

fn verdict(step: &Expressions) -> Option<&[VerdictAttribute]> {
    let Expressions::Immediate(parts) = step else { return None };
    parts.iter().find_map(|part| match part {
        Immediate::Data(DataAttribute::Verdict(verdict)) => Some(verdict.as_slice()),
        _ => None,
    })
}

fn target(step: &Expressions) -> Option<String> {
    verdict(step)?.iter().find_map(|part| match part {
        VerdictAttribute::Chain(name) => Some(name.clone()),
        _ => None,
    })
}

/// Whether the steps are `ct state invalid … drop`, in nftables' words or in those of iptables.
fn drops_invalid(steps: &[&Expressions]) -> bool {
    let drops = steps.iter().any(|step| {
        verdict(step).is_some_and(|verdict| verdict.contains(&VerdictAttribute::Code(DROP)))
    });
    drops && (is_native(steps) || steps.iter().any(|step| is_iptables(step)))
}

/// `ct` loads the state, `bitwise` keeps the bit, `cmp` asks whether anything is left.
fn is_native(steps: &[&Expressions]) -> bool {
    steps.windows(3).any(|steps| {
        let [Expressions::Other { expression_type, attributes }, mask, compare] = steps else {
            return false;
        };
        let state = expression_type == "ct"
            && attribute(attributes, CT_KEY).is_some_and(|key| key == CT_STATE.to_be_bytes());
        state && keeps(mask, INVALID) && asks_for_any(compare)
    })
}

fn keeps(step: &Expressions, bit: u32) -> bool {
    let Expressions::Bitwise(parts) = step else { return false };
    parts.iter().any(|part| {
        matches!(part, Bitwise::Mask(DataAttribute::Value(mask))
            if mask.first_chunk().is_some_and(|word| u32::from_ne_bytes(*word) & bit != 0))
    })
}

fn asks_for_any(step: &Expressions) -> bool {
    let Expressions::Cmp(parts) = step else { return false };
    parts.iter().any(|part| matches!(part, Cmp::Op(Operator::NotEqual)))
}

/// `-m conntrack --ctstate INVALID`, in the layout of revisions 2 and 3
/// (`struct xt_conntrack_mtinfo3`).
fn is_iptables(step: &Expressions) -> bool {
    let Expressions::Other { expression_type, attributes } = step else { return false };
    let name = attribute(attributes, MATCH_NAME).unwrap_or_default();
    if expression_type != "match" || name.strip_suffix(&[0]).unwrap_or(&name) != b"conntrack" {
        return false;
    }
    let info = attribute(attributes, MATCH_INFO).unwrap_or_default();
    let half = |at: usize| info.get(at..at + 2).map(|pair| u16::from_ne_bytes([pair[0], pair[1]]));
    match (half(146), half(148), half(150)) {
        (Some(matches), Some(inverts), Some(states)) => {
            matches & MATCHES_STATE != 0
                && inverts & MATCHES_STATE == 0
                && u32::from(states) & INVALID != 0
        }
        _ => false,
    }
}

fn attribute(attributes: &[DefaultNla], kind: u16) -> Option<Vec<u8>> {
    let attribute = attributes.iter().find(|attribute| attribute.kind() == kind)?;
    let mut value = vec![0; attribute.value_len()];
    attribute.emit_value(&mut value);
    Some(value)
}
