//! The way of a packet through the hooks, and of its evaluation through chains.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context as _, Result, bail};

use super::{
    expression::{Data, Expression, Operand},
    rules::{Hook, Lookup, Rules, Statement, Target, Verdict},
};
use crate::verdict::{Outcome, Outcomes, Place, Question};

/// Everything that may become of `question`, whatever is picked at random.
pub(super) fn every_way(
    rules: &Rules,
    node: &BTreeSet<IpAddr>,
    question: &Question,
) -> Result<Outcomes> {
    let mut outcomes = Outcomes::new();
    let mut picks = Picks::default();
    loop {
        let mut walk = Walk {
            rules,
            node,
            picks: &mut picks,
            packet: Packet {
                source: question.source,
                destination: question.to,
                protocol: question.transport.lower(),
                mark: 0,
                translated: false,
                masqueraded: false,
            },
        };
        outcomes.insert(walk.go(question.place)?);
        if !picks.next() {
            return Ok(outcomes);
        }
    }
}

/// What was picked at each random choice, of how many; tried in order, the last choice first.
#[derive(Default)]
struct Picks {
    taken: Vec<(u64, u64)>,
    at: usize,
}

impl Picks {
    fn pick(&mut self, below: u64) -> u64 {
        if self.at == self.taken.len() {
            self.taken.push((0, below));
        }
        self.at += 1;
        self.taken[self.at - 1].0
    }

    /// Prepares the next way; `false` when all were tried.
    fn next(&mut self) -> bool {
        self.at = 0;
        while let Some((picked, below)) = self.taken.last_mut() {
            *picked += 1;
            if *picked < *below {
                return true;
            }
            self.taken.pop();
        }
        false
    }
}

struct Packet {
    source: IpAddr,
    destination: SocketAddr,
    protocol: &'static str,
    mark: u64,
    translated: bool,
    masqueraded: bool,
}

struct Walk<'a> {
    rules: &'a Rules,
    node: &'a BTreeSet<IpAddr>,
    picks: &'a mut Picks,
    packet: Packet,
}

/// How the evaluation of a chain ended.
enum End {
    /// At its end: the caller goes on.
    Through,
    Accepted,
    Dropped,
    Rejected,
}

impl Walk<'_> {
    fn go(&mut self, place: Place) -> Result<Outcome> {
        let mut stops = Vec::new();
        if place == Place::Node {
            stops.extend([Hook::Output, Hook::Postrouting]);
        } else {
            stops.push(Hook::Prerouting);
        }
        for hook in stops {
            if let Some(outcome) = self.call(hook)? {
                return Ok(outcome);
            }
        }
        // The routing decision. What a process sends to its own node comes in by `lo`; it has been
        // translated by then or never will be.
        let rest: &[Hook] = match (self.is_local(self.packet.destination.ip()), place) {
            (true, _) => &[Hook::Input],
            (false, Place::Node) => &[],
            (false, _) => &[Hook::Forward, Hook::Postrouting],
        };
        for hook in rest {
            if let Some(outcome) = self.call(*hook)? {
                return Ok(outcome);
            }
        }
        let Packet { destination, translated, masqueraded, .. } = self.packet;
        Ok(if translated {
            Outcome::Endpoint { address: destination, masqueraded }
        } else {
            Outcome::Untouched
        })
    }

    /// Calls the base chains of `hook`.
    fn call(&mut self, hook: Hook) -> Result<Option<Outcome>> {
        for (_, chain) in self.rules.hooks.get(&hook).into_iter().flatten() {
            match self.chain(chain)? {
                End::Through | End::Accepted => {}
                End::Dropped => return Ok(Some(Outcome::Dropped)),
                End::Rejected => return Ok(Some(Outcome::Refused)),
            }
        }
        Ok(None)
    }

    fn chain(&mut self, name: &str) -> Result<End> {
        let rules = self.rules.chains.get(name).with_context(|| format!("no chain {name}"))?;
        'rules: for rule in rules {
            for statement in rule {
                let verdict = match statement {
                    Statement::Nothing => continue,
                    Statement::Match { left, equal, right } => {
                        let left = self.value(left)?;
                        if self.is_any(&left, right)? == *equal {
                            continue;
                        }
                        continue 'rules;
                    }
                    Statement::SetMark(value) => {
                        self.packet.mark = number(&self.value(value)?)?;
                        continue;
                    }
                    Statement::Masquerade => {
                        self.packet.masqueraded = true;
                        return Ok(End::Accepted);
                    }
                    Statement::Destination(target) => {
                        let Some(target) = self.target(target)? else { continue 'rules };
                        self.packet.destination = target;
                        self.packet.translated = true;
                        return Ok(End::Accepted);
                    }
                    Statement::VerdictMap { key, data } => {
                        let key = self.value(key)?;
                        let map = match data {
                            Lookup::Here(map) => map,
                            Lookup::Named(name) => {
                                let maps = &self.rules.verdict_maps;
                                maps.get(name).with_context(|| format!("no map {name}"))?
                            }
                        };
                        let Some(verdict) = map.get(&key) else { continue 'rules };
                        verdict
                    }
                    Statement::Verdict(verdict) => verdict,
                };
                match verdict {
                    Verdict::Accept => return Ok(End::Accepted),
                    Verdict::Drop => return Ok(End::Dropped),
                    Verdict::Reject => return Ok(End::Rejected),
                    Verdict::Return => return Ok(End::Through),
                    Verdict::Goto(chain) => return self.chain(chain),
                    Verdict::Jump(chain) => match self.chain(chain)? {
                        End::Through => {}
                        end => return Ok(end),
                    },
                }
            }
        }
        Ok(End::Through)
    }

    fn target(&mut self, target: &Target) -> Result<Option<SocketAddr>> {
        let chosen = match target {
            Target::Fixed(data) => data,
            Target::Picked { key, data } => {
                let key = self.value(key)?;
                let Some(chosen) = data.get(&key) else { return Ok(None) };
                chosen
            }
        };
        let Data::List(parts) = chosen else { bail!("{chosen:?} is no address and port") };
        let [Data::Address(address), Data::Number(port)] = parts.as_slice() else {
            bail!("{chosen:?} is no address and port")
        };
        Ok(Some(SocketAddr::new(*address, u16::try_from(*port)?)))
    }

    fn value(&mut self, expression: &Expression) -> Result<Data> {
        let word = |word: &str| Data::Word(word.to_owned());
        let kind = |local: bool| word(if local { "local" } else { "unicast" });
        Ok(match expression {
            Expression::Source => Data::Address(self.packet.source),
            Expression::Destination => Data::Address(self.packet.destination.ip()),
            Expression::DestinationPort => Data::Number(self.packet.destination.port().into()),
            Expression::Protocol => word(self.packet.protocol),
            Expression::Mark => Data::Number(self.packet.mark),
            Expression::SourceType => kind(self.is_local(self.packet.source)),
            Expression::DestinationType => kind(self.is_local(self.packet.destination.ip())),
            Expression::ConnectionState => word("new"),
            Expression::ConnectionStatus => {
                word(if self.packet.translated { "dnat" } else { "none" })
            }
            Expression::Constant(number) => Data::Number(*number),
            Expression::And(left, right) => {
                Data::Number(number(&self.value(left)?)? & number(&self.value(right)?)?)
            }
            Expression::Or(left, right) => {
                Data::Number(number(&self.value(left)?)? | number(&self.value(right)?)?)
            }
            Expression::Xor(left, right) => {
                Data::Number(number(&self.value(left)?)? ^ number(&self.value(right)?)?)
            }
            Expression::Random(below) => Data::Number(self.picks.pick(*below)),
            Expression::List(parts) => {
                Data::List(parts.iter().map(|part| self.value(part)).collect::<Result<_>>()?)
            }
        })
    }

    fn is_any(&self, data: &Data, of: &Operand) -> Result<bool> {
        Ok(match of {
            Operand::NamedSet(name) => {
                let set = self.rules.sets.get(name).with_context(|| format!("no set {name}"))?;
                set.contains(data)
            }
            Operand::Either(values, prefixes) => {
                let address = if let Data::Address(address) = data { Some(*address) } else { None };
                values.contains(data)
                    || address.is_some_and(|it| prefixes.iter().any(|prefix| prefix.contains(it)))
            }
        })
    }

    fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.node.contains(&address)
    }
}

fn number(data: &Data) -> Result<u64> {
    let Data::Number(number) = data else { bail!("{data:?} is no number") };
    Ok(*number)
}
