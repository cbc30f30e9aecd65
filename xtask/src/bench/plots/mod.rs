//! The figures of the benches as pictures, `target/bench/*.svg`: which quantities are drawn, beside
//! whom. Medians, with bars from the least to the most.

mod panel;

use std::path::Path;

use anyhow::{Context as _, Result};
use plotters::prelude::{IntoDrawingArea as _, SVGBackend, WHITE};
use serde_json::Value;

use super::{
    reach,
    rows::{Bench, Rows},
};
use panel::{Line, Panel, Point};

const COLUMNS: usize = 3;
/// Of a panel, in pixels.
const SIZE: (u32, u32) = (480, 320);

/// Draws what this bench wrote; nothing where it wrote nothing.
pub(super) fn draw(bench: Bench, directory: &Path) -> Result<()> {
    let rows = Rows::of(bench, directory)?;
    let panels = match bench {
        Bench::Packets => packets(&rows),
        Bench::Traffic => traffic(&rows),
        Bench::ControlPlane => control_plane(&rows),
    };
    let panels: Vec<Panel> = panels.into_iter().filter(|it| !it.lines.is_empty()).collect();
    if panels.is_empty() {
        return Ok(());
    }
    let path = directory.join(bench.file()).with_extension("svg");
    let across = panels.len().min(COLUMNS);
    let down = panels.len().div_ceil(COLUMNS);
    let pixels = |count: usize, each: u32| u32::try_from(count).unwrap_or(1) * each;
    let size = (pixels(across, SIZE.0), pixels(down, SIZE.1));
    let picture = SVGBackend::new(&path, size).into_drawing_area();
    picture.fill(&WHITE)?;
    for (area, panel) in picture.split_evenly((down, across)).iter().zip(&panels) {
        panel.draw(area).with_context(|| panel.title.clone())?;
    }
    picture.present().with_context(|| path.display().to_string())?;
    println!("drawn: {}", path.display());
    Ok(())
}

/// The points of the rows that have these values. `figures` finds least, median and most in a row.
fn line(
    rows: &Rows,
    name: &str,
    fields: &[(&str, Value)],
    figures: impl Fn(&Value) -> Option<[f64; 3]>,
) -> Option<Line> {
    let point = |row: &Value| {
        let services = row["services"].as_u64()?;
        let [min, median, max] = figures(row)?;
        Some(Point { services, min, median, max })
    };
    let mut points: Vec<Point> = rows.with(fields).filter_map(point).collect();
    points.sort_unstable_by_key(|point| point.services);
    (!points.is_empty()).then(|| Line { name: name.to_owned(), points })
}

/// Least, median and most as they stand in `object`.
fn figures(object: &Value) -> Option<[f64; 3]> {
    Some([object["min"].as_f64()?, object["median"].as_f64()?, object["max"].as_f64()?])
}

fn packets(rows: &Rows) -> Vec<Panel> {
    let mut panels = Vec::new();
    for family in reach::FAMILIES {
        for cases in reach::packets_of(family) {
            let lines = cases.names.iter().filter_map(|case| {
                // Its mean: single runs are told in whole nanoseconds.
                let lookups = |row: &Value| row["lookups"].as_f64().map(|it| [it; 3]);
                line(rows, case, &[("case", Value::from(case.as_str()))], lookups)
            });
            panels.push(Panel {
                title: format!("{}, {}: look-ups' worth of time", cases.what, family),
                lines: lines.collect(),
                goal: Some(cases.bound),
                logarithmic: false,
            });
        }
        let once = ["new connection", "refusal"].map(|case| format!("{case} {family}, once"));
        panels.push(Panel {
            title: format!("once for a connection, {family}: ns"),
            lines: once
                .iter()
                .filter_map(|case| {
                    line(rows, case, &[("case", Value::from(case.as_str()))], figures)
                })
                .collect(),
            goal: None,
            logarithmic: true,
        });
    }
    panels
}

const MODES: [&str; 5] =
    ["none", "sluice-socket", "sluice-packet", "kube-proxy-nftables", "kube-proxy-iptables"];

fn traffic(rows: &Rows) -> Vec<Panel> {
    let panel = |title: String, way: &str, work: &str, quantity: &str, field: &str| Panel {
        title,
        lines: MODES
            .iter()
            .filter(|mode| field == "value" || **mode != "none")
            .filter_map(|mode| {
                let fields = [("way", way), ("work", work), ("quantity", quantity), ("mode", mode)]
                    .map(|(name, value)| (name, Value::from(value)));
                line(rows, mode, &fields, |row| figures(&row[field]))
            })
            .collect(),
        goal: None,
        logarithmic: field == "value",
    };
    let mut panels: Vec<Panel> = reach::TRAFFIC
        .iter()
        .map(|&(what, way, work, ..)| {
            panel(format!("{what}: ratio to none"), way, work, "rate", "ratio")
        })
        .collect();
    for (quantity, what) in [
        ("connect-p50", "connect(), pod to ClusterIP, median: µs"),
        ("connect-p99", "connect(), pod to ClusterIP, 99th percentile: µs"),
        ("cpu-added", "CPU time added to a connection: µs"),
    ] {
        panels.push(panel(what.to_owned(), "cluster-ip", "connect", quantity, "value"));
    }
    panels
}

const PROXIES: [&str; 3] = ["sluice", "nftables", "iptables"];

/// Quantity, and what it is.
const CONTROL_PLANE: [(&str, &str); 7] = [
    ("first-answer", "full sync, start to first answer: s"),
    ("ready", "full sync, start to all in place: s"),
    ("sync-cpu", "full sync, CPU time: s"),
    ("memory", "memory when idle: MiB"),
    ("change-to-traffic", "one change, API call to traffic: ms"),
    ("change-cpu", "one change, CPU time: ms"),
    ("storm-cpus", "1,000 changes a second: CPUs"),
];

fn control_plane(rows: &Rows) -> Vec<Panel> {
    CONTROL_PLANE
        .iter()
        .map(|(quantity, what)| Panel {
            title: (*what).to_owned(),
            lines: PROXIES
                .iter()
                .filter_map(|proxy| {
                    let fields = [("quantity", *quantity), ("proxy", *proxy)]
                        .map(|(name, value)| (name, Value::from(value)));
                    line(rows, proxy, &fields, figures)
                })
                .collect(),
            goal: None,
            logarithmic: true,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::{control_plane, draw, packets, traffic};
    use crate::bench::rows::{Bench, Rows};

    fn rows(bench: Bench) -> serde_json::Value {
        match bench {
            Bench::Packets => json!([
                {"case": "established, ingress v6", "services": 100, "lookups": 4.0},
                {"case": "established, ingress v6", "services": 1, "lookups": 3.0},
                {"case": "refusal v4, once", "services": 1, "min": 1, "median": 2, "max": 3},
            ]),
            Bench::Traffic => json!([{
                "services": 1, "way": "cluster-ip", "work": "bulk", "quantity": "rate",
                "mode": "sluice-packet", "value": {"min": 1.0, "median": 2.0, "max": 3.0},
                "ratio": {"min": 0.8, "median": 0.9, "max": 1.0},
            }]),
            Bench::ControlPlane => json!([{
                "quantity": "memory", "services": 10_000, "proxy": "nftables",
                "min": 1.0, "median": 2.0, "max": 3.0,
            }]),
        }
    }

    #[test]
    fn what_a_bench_wrote_is_on_a_panel() {
        let of = |bench| Rows::new(rows(bench).as_array().unwrap().clone());
        let drawn = |panels: Vec<super::Panel>| -> Vec<String> {
            let lines = panels.into_iter().flat_map(|panel| {
                panel.lines.into_iter().map(move |line| {
                    let points: Vec<(u64, f64)> =
                        line.points.iter().map(|it| (it.services, it.median)).collect();
                    format!("{} | {} | {points:?}", panel.title, line.name)
                })
            });
            lines.collect()
        };
        assert_eq!(
            drawn(packets(&of(Bench::Packets))),
            [
                "once for a connection, v4: ns | refusal v4, once | [(1, 2.0)]",
                "established flow, v6: look-ups' worth of time | established, ingress v6 | \
                 [(1, 3.0), (100, 4.0)]",
            ]
        );
        assert_eq!(
            drawn(traffic(&of(Bench::Traffic))),
            ["TCP bulk, one connection: ratio to none | sluice-packet | [(1, 0.9)]"]
        );
        assert_eq!(
            drawn(control_plane(&of(Bench::ControlPlane))),
            ["memory when idle: MiB | nftables | [(10000, 2.0)]"]
        );
    }

    #[test]
    fn a_picture_has_its_titles_and_lines() {
        let directory = std::env::temp_dir().join(format!("sluice-plots-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        for bench in Bench::ALL {
            let report = json!({ "rows": rows(bench) });
            fs::write(directory.join(bench.file()), report.to_string()).unwrap();
            draw(bench, &directory).unwrap();
        }
        let picture = fs::read_to_string(directory.join("control-plane.svg")).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        assert!(picture.contains("memory when idle: MiB") && picture.contains("nftables"));
    }
}
