//! Curves as SVG.

use std::fmt;

use crate::view::escape;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 240.0;
/// Room for the numbers at the axes.
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 24.0;
/// Most points of a curve; of more, neighbours are averaged.
const MOST_POINTS: usize = 430;
/// Share of a curve over which it is smoothed.
const SMOOTHING: usize = 50;

/// Points by step.
pub(super) struct Curve {
    name: String,
    /// As they are, drawn pale where there is a smooth line too.
    points: Vec<(f64, f64)>,
    smooth: Option<Vec<(f64, f64)>>,
}

impl Curve {
    /// A curve as it is.
    pub(super) fn plain(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.to_owned(),
            points: thinned(&finite(points)),
            smooth: None,
        }
    }

    /// A curve and, over it, its running mean.
    pub(super) fn smoothed((name, points): (&str, Vec<(f64, f64)>)) -> Self {
        let points = finite(points);
        let window = (points.len() / SMOOTHING).max(1);
        let means = points.iter().enumerate().map(|(index, (step, _))| {
            let part = &points[(index + 1).saturating_sub(window)..=index];
            (*step, mean(part.iter().map(|point| point.1)))
        });
        Self {
            name: name.to_owned(),
            smooth: Some(thinned(&means.collect::<Vec<_>>())),
            points: thinned(&points),
        }
    }
}

fn finite(mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points.retain(|point| point.1.is_finite());
    points
}

#[expect(clippy::cast_precision_loss, reason = "a mean to be drawn")]
fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(MOST_POINTS).max(1);
    let groups = points.chunks(group).map(|group| {
        let step = group.last().map_or(0.0, |point| point.0);
        (step, mean(group.iter().map(|point| point.1)))
    });
    groups.collect()
}

/// Curves over the same steps, with axes and names.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) curves: Vec<Curve>,
}

impl fmt::Display for Chart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        if points().next().is_none() {
            return writeln!(f, "<p>nothing yet</p>");
        }
        let range = |value: fn(&(f64, f64)) -> f64| {
            let values = points().map(value);
            values.fold((f64::MAX, f64::MIN), |(low, high), value| {
                (low.min(value), high.max(value))
            })
        };
        let ((first, last), (low, high)) = (range(|point| point.0), range(|point| point.1));
        // What is never below zero is drawn from there.
        let low = if low > 0.0 { 0.0 } else { low };
        let high = if high > low { high } else { low + 1.0 };
        let x = |step: f64| LEFT + (WIDTH - LEFT) * (step - first) / (last - first).max(1.0);
        let y = |value: f64| (HEIGHT - BOTTOM) * (high - value) / (high - low);
        let path = |points: &[(f64, f64)]| -> String {
            let points = points.iter();
            let points = points.map(|(step, value)| format!("{:.1},{:.1}", x(*step), y(*value)));
            points.collect::<Vec<_>>().join(" ")
        };
        writeln!(
            f,
            "<svg viewBox='-2 -8 {} {}' role=img aria-label='{}'>",
            WIDTH + 4.0,
            HEIGHT + 10.0,
            escape(self.title)
        )?;
        for quarter in 0..=4 {
            let value = low + (high - low) * f64::from(quarter) / 4.0;
            let at = y(value);
            writeln!(
                f,
                "<path class=line d='M{LEFT} {at:.1}H{WIDTH}'/><text x={:.0} y={:.1} \
                 text-anchor=end>{}</text>",
                LEFT - 6.0,
                at + 4.0,
                number(value)
            )?;
        }
        for (step, anchor) in [(first, "start"), (last, "end")] {
            writeln!(
                f,
                "<text x={:.1} y={:.0} text-anchor={anchor}>step {step}</text>",
                x(step),
                HEIGHT - 4.0
            )?;
        }
        for (index, curve) in self.curves.iter().enumerate() {
            let class = index % 8;
            let pale = if curve.smooth.is_some() { " pale" } else { "" };
            writeln!(
                f,
                "<polyline class='c{class}{pale}' points='{}'/>",
                path(&curve.points)
            )?;
            if let Some(smooth) = &curve.smooth {
                writeln!(f, "<polyline class=c{class} points='{}'/>", path(smooth))?;
            }
        }
        writeln!(f, "</svg>\n<ul class=names>")?;
        for (index, curve) in self.curves.iter().enumerate() {
            let last = curve.smooth.as_ref().unwrap_or(&curve.points).last();
            let last = last.map_or_else(String::new, |point| number(point.1));
            let (class, name) = (index % 8, escape(&curve.name));
            writeln!(f, "<li class=c{class}>{name} <b>{last}</b></li>")?;
        }
        writeln!(f, "</ul>")
    }
}

/// A number in as few digits as its size needs.
fn number(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 0.01 {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.1e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_reaches_from_edge_to_edge() {
        let curves = vec![Curve::plain(
            "a<b",
            vec![(1.0, 2.0), (2.0, f64::NAN), (5.0, 0.5)],
        )];
        let chart = Chart {
            title: "loss",
            curves,
        }
        .to_string();
        assert!(chart.contains("points='60.0,0.0 860.0,162.0'"), "{chart}");
        assert!(chart.contains("a&lt;b <b>0.5</b>"), "{chart}");
    }

    #[test]
    fn long_runs_are_drawn_with_few_points_and_none_without_any() {
        let points = (0..10_000).map(|step| (f64::from(step), 1.0)).collect();
        assert!(Curve::smoothed(("a", points)).points.len() <= MOST_POINTS);
        let empty = Chart {
            title: "loss",
            curves: vec![Curve::plain("a", Vec::new())],
        };
        assert!(empty.to_string().contains("nothing yet"));
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [0.0, 1234.5, 2.5, 0.0123, 0.0002, -1.0].map(number);
        assert_eq!(numbers, ["0", "1234", "2.5", "0.012", "2.0e-4", "-1"]);
    }
}
