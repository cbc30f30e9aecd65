//! One panel of a plot: what some quantity is at different numbers of Services, a line for each who
//! was measured.

use anyhow::Result;
use plotters::{
    coord::Shift,
    element::{DashedPathElement, ErrorBar},
    prelude::*,
};

const FONT: &str = "sans-serif";
const MARGIN: u32 = 10;
/// One for each line of a panel, in their order.
const COLORS: [RGBColor; 6] = [
    RGBColor(0x1f, 0x6f, 0xb4),
    RGBColor(0x2a, 0x9d, 0x5c),
    RGBColor(0xc8, 0x4b, 0x31),
    RGBColor(0x8a, 0x5a, 0xb5),
    RGBColor(0xb8, 0x86, 0x0b),
    RGBColor(0x55, 0x55, 0x55),
];

/// A figure at a number of Services.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) services: u64,
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

/// The figures of one who was measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
}

/// Lines of one quantity.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Panel {
    /// With its unit.
    pub(super) title: String,
    pub(super) lines: Vec<Line>,
    /// Drawn dashed.
    pub(super) goal: Option<f64>,
    /// Whether equal distances up are equal factors.
    pub(super) logarithmic: bool,
}

impl Panel {
    /// The numbers of Services, ascending: places on the axis, not values.
    fn sizes(&self) -> Vec<u64> {
        let points = self.lines.iter().flat_map(|line| &line.points);
        let mut sizes: Vec<u64> = points.map(|point| point.services).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// The place up of a value.
    fn height(&self, value: f64) -> f64 {
        if self.logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value }
    }

    /// The least and the greatest place up, with some room.
    fn heights(&self) -> (f64, f64) {
        let points = self.lines.iter().flat_map(|line| &line.points);
        let values = points.flat_map(|point| [point.min, point.max]).chain(self.goal);
        // A logarithm of nothing is no place.
        let values = values.filter(|&value| !self.logarithmic || value > 0.0);
        let heights: Vec<f64> = values.map(|value| self.height(value)).collect();
        let most = heights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let least = heights.iter().copied().fold(f64::INFINITY, f64::min);
        if !most.is_finite() {
            return (0.0, 1.0);
        }
        let room = ((most - least) / 10.0).max(0.05);
        if self.logarithmic { (least - room, most + room) } else { (0.0, most + room) }
    }

    /// Draws it into `area`.
    #[expect(clippy::cast_precision_loss, reason = "places on an axis")]
    pub(super) fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<()> {
        let sizes = self.sizes();
        let place = |services: u64| sizes.iter().position(|&size| size == services).unwrap_or(0);
        let (low, high) = self.heights();
        let end = sizes.len() as f64 - 0.5;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, (FONT, 15))
            .margin(MARGIN)
            .x_label_area_size(28)
            .y_label_area_size(56)
            .build_cartesian_2d(-0.5..end, low..high)?;
        let shown_size = |at: &f64| {
            let near = (at - at.round()).abs() < 0.01 && *at >= 0.0;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place")]
            let size = sizes.get(at.round().max(0.0) as usize).filter(|_| near);
            size.map(ToString::to_string).unwrap_or_default()
        };
        let shown_value = |height: &f64| {
            if self.logarithmic { short(10f64.powf(*height)) } else { short(*height) }
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(0)
            .x_labels(sizes.len() * 2 + 1)
            .x_label_formatter(&shown_size)
            .y_label_formatter(&shown_value)
            .x_desc("Services")
            .draw()?;
        let count = self.lines.len() as f64;
        for (number, (line, color)) in self.lines.iter().zip(COLORS.iter().cycle()).enumerate() {
            // Side by side, so that one does not hide the other.
            let aside = (number as f64 - (count - 1.0) / 2.0) * 0.08;
            let at = |point: &Point| place(point.services) as f64 + aside;
            let medians = line.points.iter().map(|it| (at(it), self.height(it.median)));
            chart
                .draw_series(LineSeries::new(medians, color.stroke_width(2)))?
                .label(&line.name)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 4), (x + 14, y + 4)], color.filled())
                });
            let bars = line.points.iter().map(|it| {
                let [min, median, max] = [it.min, it.median, it.max].map(|it| self.height(it));
                ErrorBar::new_vertical(at(it), min.max(low), median, max, color.filled(), 6)
            });
            chart.draw_series(bars)?;
        }
        if let Some(goal) = self.goal {
            let ends = [-0.5, end].map(|at| (at, self.height(goal)));
            chart
                .draw_series([DashedPathElement::new(ends, 6, 4, BLACK.stroke_width(1))])?
                .label("goal")
                .legend(|(x, y)| PathElement::new([(x, y), (x + 14, y)], BLACK));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .label_font((FONT, 12))
            .draw()?;
        Ok(())
    }
}

/// A number as short as an axis wants it.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1e9 => format!("{:.1}G", value / 1e9),
        size if size >= 1e6 => format!("{:.1}M", value / 1e6),
        size if size >= 1e4 => format!("{:.0}k", value / 1e3),
        size if size >= 10.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, Panel, Point, short};

    fn panel(logarithmic: bool) -> Panel {
        let point = |services, median: f64| Point {
            services,
            min: median / 2.0,
            median,
            max: median * 2.0,
        };
        Panel {
            title: "time, s".into(),
            lines: vec![
                Line { name: "a".into(), points: vec![point(100, 4.0), point(1, 2.0)] },
                Line { name: "b".into(), points: vec![point(100, 0.0)] },
            ],
            goal: None,
            logarithmic,
        }
    }

    #[test]
    fn all_that_was_measured_has_room() {
        assert_eq!(panel(false).sizes(), [1, 100]);
        let (low, high) = panel(false).heights();
        assert!(low <= 0.0 && high > 8.0, "{low} {high}");
        // Nothing has no logarithm.
        let (low, high) = panel(true).heights();
        assert!(low < 0.0 && low.is_finite() && high > 8f64.log10(), "{low} {high}");
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.25, 12.4, 31_000.0, 2_500_000.0, 4e9].map(short);
        assert_eq!(shown, ["0.25", "12", "31k", "2.5M", "4.0G"]);
    }
}
