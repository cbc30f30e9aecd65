//! `sluice monitor`: what happens on this node, as it happens: flows that open, change and end, and
//! every verdict that is counted.
//!
//! It looks at the pinned maps again and again and tells what differs ([`news`]); the datapath does
//! nothing for it, and nothing is written. So a flow that comes and goes between two looks is not
//! seen, and a drop has a reason and a number, not a packet. JSON: one [`News`] a line, with the time.

mod news;

use std::{io, thread, time::Duration};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use self::news::{Flow, News, Snapshot};
use super::{
    CliError, PinArgs, flows, installed_maps,
    output::{Format, duration, print},
    shown::{End, name_or_id},
    status,
};
use crate::{
    datapath::{pins::Pins, tables},
    options::Span,
};

/// How often it looks when it isn't told.
const A_SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct MonitorArgs {
    #[command(flatten)]
    pins: PinArgs,
    /// How often to look [default: 1s]
    #[arg(long, value_name = "DURATION")]
    interval: Option<Span>,
    /// End after so many looks [default: go on until a signal comes]
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
    /// Tell only of flows of this Service, as NAMESPACE/NAME, and of no verdicts: those are counted
    /// for all Services together
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// How to show it: a line each, or with json an object on each line
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

/// A line of JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// When it was seen, RFC 3339.
    time: Timestamp,
    #[serde(flatten)]
    news: &'a News,
}

pub(super) fn run(args: &MonitorArgs) -> Result<(), CliError> {
    let pins = args.pins.pins()?;
    let interval = args.interval.map_or(A_SECOND, Span::get);
    let mut before = look(&pins)?;
    let mut looks = 0;
    if args.output == Format::Table {
        eprintln!("{} flows are open; what happens from now on:", before.flows.len());
    }
    while args.count.is_none_or(|count| looks < count) {
        thread::sleep(interval);
        looks += 1;
        let now = look(&pins)?;
        let time = Timestamp::now();
        for news in news::between(&before, &now).iter().filter(|news| args.wants(news)) {
            print(&args.line(time, news)?)?;
        }
        before = now;
    }
    Ok(())
}

impl MonitorArgs {
    fn wants(&self, news: &News) -> bool {
        let Some(wanted) = &self.service else { return true };
        news.flow().is_some_and(|flow| {
            let name = flow.service.as_ref();
            name.is_some_and(|name| format!("{}/{}", name.namespace, name.name) == *wanted)
        })
    }

    fn line(&self, time: Timestamp, news: &News) -> Result<String, CliError> {
        match self.output {
            Format::Table => Ok(format!("{time:.3}  {}", text(news))),
            Format::Json => serde_json::to_string(&Line { time, news })
                .map_err(|error| CliError::Output(error.into())),
            Format::Yaml => serde_saphyr::to_string(&Line { time, news })
                .map(|text| format!("---\n{text}"))
                .map_err(|error| CliError::Output(io::Error::other(error))),
        }
    }
}

/// What the maps say now.
fn look(pins: &Pins) -> Result<Snapshot, CliError> {
    let maps = installed_maps(pins)?;
    let flows = flows::rows(pins, &maps)?;
    let counts = status::counters(&tables::counters(&maps)?)?;
    Ok(Snapshot { flows: flows.into_iter().map(|row| (Flow::key(&row), row)).collect(), counts })
}

fn text(news: &News) -> String {
    match news {
        News::Opened(flow) => format!("opened   {}", flow_text(flow)),
        News::Changed(flow) => format!("changed  {}", flow_text(flow)),
        News::Ended(flow) => format!(
            "ended    {}  after {}, packets {}/{}, bytes {}/{}",
            flow_text(flow),
            duration(flow.age_seconds.into()),
            flow.packets.forward,
            flow.packets.reply,
            flow.bytes.forward,
            flow.bytes.reply,
        ),
        News::Counted { kind, name, more, count } => {
            format!("{kind:<7}  {name} +{more} ({count} in all)")
        }
    }
}

/// `tcp 10.0.0.1:40000 > 10.96.0.10:80 > 10.0.0.2:8080  established  default/web:http`
fn flow_text(flow: &Flow) -> String {
    let to = |end: &Option<End>| end.map_or_else(String::new, |end| format!(" > {end}"));
    let source = flow.source.map_or_else(String::new, |source| format!(" (from {source})"));
    let name = match flow.service_id {
        0 => format!("({})", flow.kind),
        id => name_or_id(flow.service.as_ref(), id),
    };
    format!(
        "{} {}{}{source} > {}  {}  {name}",
        flow.protocol,
        flow.client,
        to(&flow.frontend),
        flow.endpoint,
        flow.state.name(),
    )
}
