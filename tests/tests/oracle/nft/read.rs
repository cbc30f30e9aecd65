//! Reads what `nft -j list table` prints. What isn't known is an error.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    expression::{Data, Expression, Operand, Prefix},
    rules::{Hook, Lookup, Rules, Statement, Target, Verdict},
};

pub(super) fn rules(printed: &Value) -> Result<Rules> {
    let mut rules = Rules::default();
    for object in list(&printed["nftables"])? {
        let (kind, body) = only(object)?;
        read(&mut rules, kind, body).with_context(|| object.to_string())?;
    }
    for chains in rules.hooks.values_mut() {
        chains.sort();
    }
    Ok(rules)
}

fn read(rules: &mut Rules, kind: &str, body: &Value) -> Result<()> {
    match kind {
        "metainfo" | "table" => {}
        "chain" => {
            let name = text(&body["name"])?;
            rules.chains.entry(name.to_owned()).or_default();
            if !body["hook"].is_null() {
                let priority = body["prio"].as_i64().context("no priority")?;
                let hook = rules.hooks.entry(hook(text(&body["hook"])?)?).or_default();
                hook.push((priority, name.to_owned()));
            }
        }
        "rule" => {
            let rule = list(&body["expr"])?.iter().map(statement).collect::<Result<_>>()?;
            rules.chains.entry(text(&body["chain"])?.to_owned()).or_default().push(rule);
        }
        "set" => {
            let elements = elements(&body["elem"]).iter().map(data).collect::<Result<_>>()?;
            rules.sets.insert(text(&body["name"])?.to_owned(), elements);
        }
        "map" if body["map"] == "verdict" => {
            let map = verdicts(&body["elem"])?;
            rules.verdict_maps.insert(text(&body["name"])?.to_owned(), map);
        }
        other => bail!("a {other} is not known"),
    }
    Ok(())
}

fn hook(name: &str) -> Result<Hook> {
    Ok(match name {
        "prerouting" => Hook::Prerouting,
        "input" => Hook::Input,
        "forward" => Hook::Forward,
        "output" => Hook::Output,
        "postrouting" => Hook::Postrouting,
        other => bail!("the hook {other} is not known"),
    })
}

fn statement(printed: &Value) -> Result<Statement> {
    let (kind, body) = only(printed)?;
    Ok(match kind {
        "match" => Statement::Match {
            left: expression(&body["left"])?,
            equal: match text(&body["op"])? {
                "==" | "in" => true,
                "!=" => false,
                other => bail!("the comparison {other} is not known"),
            },
            right: operand(&body["right"])?,
        },
        "vmap" => Statement::VerdictMap {
            key: expression(&body["key"])?,
            data: match &body["data"] {
                Value::String(name) => Lookup::Named(named(name)?),
                here => Lookup::Here(verdicts(&here["set"])?),
            },
        },
        "mangle" if body["key"]["meta"]["key"] == "mark" => {
            Statement::SetMark(expression(&body["value"])?)
        }
        "dnat" => Statement::Destination(target(body)?),
        "masquerade" => Statement::Masquerade,
        "set" if body["op"] == "update" => Statement::Nothing,
        _ => Statement::Verdict(verdict(printed)?),
    })
}

fn verdict(printed: &Value) -> Result<Verdict> {
    let (kind, body) = only(printed)?;
    let target = || Ok::<_, anyhow::Error>(text(&body["target"])?.to_owned());
    Ok(match kind {
        "accept" => Verdict::Accept,
        "drop" => Verdict::Drop,
        "reject" => Verdict::Reject,
        "return" => Verdict::Return,
        "jump" => Verdict::Jump(target()?),
        "goto" => Verdict::Goto(target()?),
        other => bail!("the statement {other} is not known"),
    })
}

fn target(body: &Value) -> Result<Target> {
    let address = &body["addr"];
    if address["map"].is_null() {
        return Ok(Target::Fixed(Data::List(vec![data(address)?, data(&body["port"])?])));
    }
    let pairs = elements(&address["map"]["data"]["set"]);
    let pair = |pair: &Value| Ok((data(&pair[0])?, data(&pair[1])?));
    Ok(Target::Picked {
        key: expression(&address["map"]["key"])?,
        data: pairs.iter().map(pair).collect::<Result<_>>()?,
    })
}

fn expression(printed: &Value) -> Result<Expression> {
    if let Some(number) = printed.as_u64() {
        return Ok(Expression::Constant(number));
    }
    let (kind, body) = only(printed)?;
    let operands =
        || -> Result<_> { Ok((Box::new(expression(&body[0])?), Box::new(expression(&body[1])?))) };
    let known = match (kind, body["key"].as_str(), body["field"].as_str()) {
        ("payload", _, Some("saddr")) => Expression::Source,
        ("payload", _, Some("daddr")) => Expression::Destination,
        ("payload", _, Some("dport")) => Expression::DestinationPort,
        ("meta", Some("l4proto"), _) => Expression::Protocol,
        ("meta", Some("mark"), _) => Expression::Mark,
        ("ct", Some("state"), _) => Expression::ConnectionState,
        ("ct", Some("status"), _) => Expression::ConnectionStatus,
        ("fib", ..) if body["result"] == "type" => match text(&body["flags"][0])? {
            "saddr" => Expression::SourceType,
            "daddr" => Expression::DestinationType,
            other => bail!("fib {other} is not known"),
        },
        ("numgen", ..) if body["mode"] == "random" && body["offset"] == 0 => {
            Expression::Random(body["mod"].as_u64().context("no modulus")?)
        }
        ("concat", ..) => {
            Expression::List(list(body)?.iter().map(expression).collect::<Result<_>>()?)
        }
        ("&", ..) => operands().map(|(left, right)| Expression::And(left, right))?,
        ("|", ..) => operands().map(|(left, right)| Expression::Or(left, right))?,
        ("^", ..) => operands().map(|(left, right)| Expression::Xor(left, right))?,
        _ => bail!("the expression {printed} is not known"),
    };
    Ok(known)
}

fn operand(printed: &Value) -> Result<Operand> {
    if let Some(name) = printed.as_str().filter(|name| name.starts_with('@')) {
        return Ok(Operand::NamedSet(named(name)?));
    }
    let (mut values, mut prefixes) = (HashSet::new(), Vec::new());
    let several = elements(&printed["set"]);
    for value in if printed["set"].is_null() { std::slice::from_ref(printed) } else { several } {
        match value["prefix"].as_object() {
            Some(prefix) => prefixes.push(Prefix {
                address: text(&prefix["addr"])?.parse()?,
                length: prefix["len"].as_u64().and_then(|it| it.try_into().ok()).context("len")?,
            }),
            None => {
                values.insert(data(value)?);
            }
        }
    }
    Ok(Operand::Either(values, prefixes))
}

fn verdicts(printed: &Value) -> Result<HashMap<Data, Verdict>> {
    elements(printed).iter().map(|pair| Ok((data(&pair[0])?, verdict(&pair[1])?))).collect()
}

fn data(printed: &Value) -> Result<Data> {
    Ok(match printed {
        Value::Number(number) => Data::Number(number.as_u64().context("a negative number")?),
        Value::String(word) => {
            word.parse().map_or_else(|_| Data::Word(word.clone()), Data::Address)
        }
        Value::Object(_) => match only(printed)? {
            ("concat", parts) => Data::List(list(parts)?.iter().map(data).collect::<Result<_>>()?),
            // With a comment or a timeout.
            ("elem", body) => data(&body["val"])?,
            _ => bail!("the value {printed} is not known"),
        },
        _ => bail!("the value {printed} is not known"),
    })
}

/// The one member of an object: its kind and its body.
fn only(printed: &Value) -> Result<(&str, &Value)> {
    let object = printed.as_object().filter(|object| object.len() == 1);
    let (kind, body) = object
        .and_then(|object| object.iter().next())
        .with_context(|| format!("{printed} is not known"))?;
    Ok((kind, body))
}

/// Elements of a set that may be empty, and is left out then.
fn elements(printed: &Value) -> &[Value] {
    printed.as_array().map_or(&[], Vec::as_slice)
}

fn list(printed: &Value) -> Result<&[Value]> {
    Ok(printed.as_array().with_context(|| format!("{printed} is no list"))?)
}

fn text(printed: &Value) -> Result<&str> {
    printed.as_str().with_context(|| format!("{printed} is no text"))
}

fn named(reference: &str) -> Result<String> {
    Ok(reference.strip_prefix('@').context("a reference has no @")?.to_owned())
}
