//! A web page that shows a training run: what was learned, how fast, and what the model said.
//!
//! The page is one file without scripts or outside references: curves as SVG, the pictures that the
//! model was asked about with its words over time, the configuration. Memory is the run's lines, some
//! 200 bytes a step, and the page.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::prelude::{BASE64_STANDARD, Engine};

use crate::step_lines::read_lines;
use crate::trainer::{EvaluationLine, SampleLine, StepLine, TimeLine};
use crate::view::{STYLE, escape};

mod chart;

use chart::{Chart, Curve};

const REPORT_STYLE: &str = include_str!("report/report.css");

/// Writes the report of a run to `out`; the run may still be going on.
///
/// # Errors
///
/// If the directory holds no run, a file of it is damaged, or the report cannot be written.
pub fn write_run_report(run: &Path, out: &Path) -> Result<()> {
    let steps: Vec<StepLine> = read_lines(&run.join("metrics.jsonl"))?;
    let Some(last) = steps.last() else {
        bail!(
            "{} holds no steps of a run: give the --out of an `m3w train`",
            run.display()
        );
    };
    let config = run.join("train.toml");
    let config =
        fs::read_to_string(&config).with_context(|| format!("cannot read {}", config.display()))?;
    let times: Vec<TimeLine> = read_lines(&run.join("times.jsonl"))?;
    let evaluations: Vec<EvaluationLine> = read_lines(&run.join("evaluation.jsonl"))?;
    let samples: Vec<SampleLine> = read_lines(&run.join("samples.jsonl"))?;

    let mut page = String::new();
    head(&mut page, run, &steps, &times);
    charts(&mut page, &steps, &times, &evaluations);
    said(&mut page, run, &samples)?;
    let skipped = steps.iter().filter(|line| line.is_skipped);
    skipped_steps(&mut page, &skipped.collect::<Vec<_>>());
    let _ = writeln!(
        page,
        "<h2>Configuration</h2><pre>{}</pre></main>",
        escape(&config)
    );
    tracing::debug!("a report of {} steps", last.step);
    m3w_shards::write_atomically(out, page.as_bytes())?;
    Ok(())
}

fn head(page: &mut String, run: &Path, steps: &[StepLine], times: &[TimeLine]) {
    let title = escape(&run.display().to_string());
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=en><meta charset=utf-8><title>{title}</title>\n\
         <meta name=viewport content='width=device-width'>\n<style>\n{STYLE}{REPORT_STYLE}</style>\n\
         <header><h1>{title}</h1></header>\n<main>\n<table class=numbers>"
    );
    let seconds: f64 = times.iter().map(|line| line.seconds).sum();
    let waited: f64 = times.iter().map(|line| line.waited_seconds).sum();
    let tokens: usize = steps.iter().map(|line| line.tokens).sum();
    #[expect(clippy::cast_precision_loss, reason = "a rate to be read by people")]
    let rate = tokens as f64 / seconds.max(1e-9);
    let first = steps.first().map_or(0.0, |line| line.loss);
    let last = steps.last().map_or(0.0, |line| line.loss);
    let skipped = steps.iter().filter(|line| line.is_skipped).count();
    for (name, value) in [
        ("steps", steps.len().to_string()),
        (
            "loss of the first and the last",
            format!("{first:.3} &rarr; {last:.3}"),
        ),
        ("tokens learned from", tokens.to_string()),
        (
            "time in steps",
            format!("{seconds:.0} s, of which {waited:.0} s waiting for data"),
        ),
        ("tokens a second", format!("{rate:.0}")),
        ("steps without a finite loss", skipped.to_string()),
    ] {
        let _ = write!(page, "<tr><th>{name}<td>{value}");
    }
    page.push_str("</table>\n");
}

fn charts(
    page: &mut String,
    steps: &[StepLine],
    times: &[TimeLine],
    evaluations: &[EvaluationLine],
) {
    let of_steps = |value: fn(&StepLine) -> f64| -> Vec<(f64, f64)> {
        let points = steps.iter().map(|line| (position(line.step), value(line)));
        points.collect()
    };
    let mut losses = BTreeMap::<&str, Vec<(f64, f64)>>::new();
    for line in steps {
        for (name, loss) in &line.losses {
            losses
                .entry(name)
                .or_default()
                .push((position(line.step), *loss));
        }
    }
    let mut held_out = BTreeMap::<&str, Vec<(f64, f64)>>::new();
    for line in evaluations {
        for (name, loss) in &line.losses {
            held_out
                .entry(name)
                .or_default()
                .push((position(line.step), *loss));
        }
    }
    let mut curves: Vec<Curve> = losses.into_iter().map(Curve::smoothed).collect();
    curves.extend(
        held_out
            .into_iter()
            .map(|(name, points)| Curve::plain(&format!("held out: {name}"), points)),
    );
    let layers: BTreeSet<usize> = steps
        .iter()
        .flat_map(|line| line.gates.keys())
        .copied()
        .collect();
    let gates = layers.iter().flat_map(|layer| {
        [(0, "attention"), (1, "feed-forward")].map(|(which, name)| {
            let points = steps.iter().filter_map(|line| {
                Some((
                    position(line.step),
                    f64::from(line.gates.get(layer)?[which]),
                ))
            });
            Curve::plain(&format!("layer {layer}, {name}"), points.collect())
        })
    });
    let speed = times
        .iter()
        .map(|line| (position(line.step), line.tokens_per_second));
    let norm = Curve::smoothed(("norm", of_steps(|line| line.gradient_norm)));
    let rate = Curve::plain("rate", of_steps(|line| line.learning_rate));
    for (title, curves) in [
        ("Loss, nats a token, by dataset", curves),
        ("Openings of the gates", gates.collect()),
        ("Norm of the gradient before clipping", vec![norm]),
        ("Learning rate", vec![rate]),
        (
            "Tokens a second",
            vec![Curve::smoothed(("tokens", speed.collect()))],
        ),
    ] {
        let _ = write!(page, "<h2>{title}</h2>\n{}", Chart { title, curves });
    }
}

#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
fn position(step: usize) -> f64 {
    step as f64
}

/// Each picture with what was said of it, step by step.
fn said(page: &mut String, run: &Path, samples: &[SampleLine]) -> Result<()> {
    let mut by_picture = BTreeMap::<&str, Vec<&SampleLine>>::new();
    for line in samples {
        by_picture.entry(&line.picture).or_default().push(line);
    }
    if !by_picture.is_empty() {
        page.push_str("<h2>What the model said</h2>\n");
    }
    for (name, lines) in by_picture {
        let path = run.join(name);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let extension = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let kind = if extension == "jpg" {
            "jpeg"
        } else {
            extension.as_str()
        };
        let expected = lines.first().map_or("", |line| line.expected.as_str());
        let _ = write!(
            page,
            "<article><img src='data:image/{};base64,{}' alt=''>\n<p class=caption>{}</p><table>",
            escape(kind),
            BASE64_STANDARD.encode(bytes),
            escape(expected)
        );
        for line in lines {
            let _ = write!(page, "<tr><th>{}<td>{}", line.step, escape(&line.generated));
        }
        page.push_str("</table></article>\n");
    }
    Ok(())
}

fn skipped_steps(page: &mut String, skipped: &[&StepLine]) {
    /// Most that are listed.
    const LISTED: usize = 50;
    if skipped.is_empty() {
        return;
    }
    page.push_str("<h2>Steps without a finite loss</h2>\n<table>");
    for line in skipped.iter().take(LISTED) {
        let rows = escape(&line.skipped_rows.join(", "));
        let _ = write!(page, "<tr><th>{}<td>{rows}", line.step);
    }
    page.push_str("</table>\n");
}
