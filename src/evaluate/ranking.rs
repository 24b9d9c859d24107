//! Measures of scores by the order into which they put things.

use anyhow::{Result, ensure};

/// The share of pairs, of one that is and one that is not, in which the one that is has the higher
/// score; equal scores count half. The area under the curve of true against false positives, as
/// scikit-learn's `roc_auc_score` gives it.
///
/// # Errors
///
/// If there is none of either kind, or a score is not a number.
pub fn roc_auc(labels: &[bool], scores: &[f64]) -> Result<f64> {
    check(labels.len(), scores)?;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let (mut below, mut twice) = (0_u128, 0_u128);
    let mut positives = 0_u128;
    for group in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let is = group.iter().filter(|at| labels[**at]).count() as u128;
        let is_not = group.len() as u128 - is;
        twice += is * (2 * below + is_not);
        below += is_not;
        positives += is;
    }
    ensure!(
        positives > 0 && below > 0,
        "all examples have the same label: an area needs both"
    );
    Ok(twice as f64 / (2 * positives * below) as f64)
}

/// How far down a ranking [`ndcg`] looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// As many as have a relevance above 0, as the VisDial challenge does.
    Relevant,
    /// This many.
    First(usize),
    /// All.
    All,
}

/// The relevance that a ranking by `scores` gathers, later places counting less by the logarithm of
/// their number, over the most there is to gather. Candidates of equal score share their places,
/// as in scikit-learn's `ndcg_score`. 0 where nothing is relevant.
///
/// # Errors
///
/// If a relevance is below 0, or a number is none.
pub fn ndcg(relevance: &[f64], scores: &[f64], depth: Depth) -> Result<f64> {
    check(relevance.len(), scores)?;
    ensure!(
        relevance
            .iter()
            .all(|value| *value >= 0.0 && value.is_finite()),
        "a relevance is below 0 or no number"
    );
    let depth = match depth {
        Depth::Relevant => relevance.iter().filter(|value| **value > 0.0).count(),
        Depth::First(count) => count,
        Depth::All => relevance.len(),
    };
    let best = gathered(relevance, relevance, depth);
    if best == 0.0 {
        return Ok(0.0);
    }
    Ok(gathered(relevance, scores, depth) / best)
}

fn gathered(relevance: &[f64], scores: &[f64], depth: usize) -> f64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let mut place = 0;
    let mut sum = 0.0;
    for group in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let places = place..(place + group.len()).min(depth);
        let worth: f64 = places.map(|place| 1.0 / (place as f64 + 2.0).log2()).sum();
        let relevance: f64 = group.iter().map(|at| relevance[*at]).sum();
        sum += relevance / group.len() as f64 * worth;
        place += group.len();
    }
    sum
}

/// Precision averaged over what is found, from the highest score down, each example counting as
/// much as its weight: scikit-learn's `average_precision_score`. 0 where there is nothing to find.
///
/// # Errors
///
/// If a score or weight is no number.
pub fn average_precision(labels: &[bool], scores: &[f64], weights: &[f64]) -> Result<f64> {
    check(labels.len(), scores)?;
    check(labels.len(), weights)?;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let weigh = |at: &usize| if labels[*at] { weights[*at] } else { 0.0 };
    let total: f64 = order.iter().map(weigh).sum();
    if total == 0.0 {
        return Ok(0.0);
    }
    let (mut found, mut seen, mut sum) = (0.0, 0.0, 0.0);
    for group in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let new: f64 = group.iter().map(weigh).sum();
        found += new;
        seen += group.iter().map(|at| weights[*at]).sum::<f64>();
        if seen > 0.0 {
            sum += new / total * (found / seen);
        }
    }
    Ok(sum)
}

/// A segment of RareAct that someone looked at for an action.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// The video it is from.
    pub video: String,
    /// The action's number among the scores.
    pub class: usize,
    /// The action's verb.
    pub verb: String,
    /// The action's noun.
    pub noun: String,
    /// What was found: 1 the action, 2 its verb, 3 its noun, 4 both but not together, 0 nothing.
    pub annotation: u8,
}

/// The mean over actions of [`average_precision`] as RareAct's `compute_score.py` weighs it (mWAP):
/// segments of one video share a weight of 1 among those of its kind (the action is there; a part of
/// it is; nothing is). `scores[i][c]` is the score of class c for segment i.
///
/// # Errors
///
/// If no action was found anywhere, or a score is missing or no number.
pub fn mwap(segments: &[Segment], scores: &[Vec<f64>]) -> Result<f64> {
    ensure!(
        segments.len() == scores.len(),
        "{} segments have {} rows of scores",
        segments.len(),
        scores.len()
    );
    let mut actions: Vec<(&str, &str)> = Vec::new();
    for segment in segments {
        let action = (segment.verb.as_str(), segment.noun.as_str());
        if !actions.contains(&action) {
            actions.push(action);
        }
    }
    let mut sum = 0.0;
    let mut counted = 0_u32;
    for action in actions {
        let (labels, weights, chosen) = judged(segments, action);
        if !labels.contains(&true) {
            continue;
        }
        // The class of an action is that of its last row, as in the original.
        let same = segments.iter().rev().find(|segment| is_of(segment, action));
        let class = same.map_or(0, |segment| segment.class);
        let of_class = chosen.iter().map(|at| scores[*at].get(class).copied());
        let Some(of_class) = of_class.collect::<Option<Vec<f64>>>() else {
            anyhow::bail!("a segment has no score for class {class}");
        };
        sum += average_precision(&labels, &of_class, &weights)?;
        counted += 1;
    }
    ensure!(counted > 0, "no segment shows its action");
    Ok(sum / f64::from(counted))
}

fn is_of(segment: &Segment, (verb, noun): (&str, &str)) -> bool {
    segment.verb == verb && segment.noun == noun
}

/// Labels, weights and places of the segments that count for an action.
fn judged(segments: &[Segment], action: (&str, &str)) -> (Vec<bool>, Vec<f64>, Vec<usize>) {
    /// Of three kinds: the action is there, none of it is, a part of it is.
    const KINDS: usize = 3;
    let mut kinds: [Vec<usize>; KINDS] = Default::default();
    for (at, segment) in segments.iter().enumerate() {
        let is_verb = segment.verb == action.0;
        let is_noun = segment.noun == action.1;
        let kind = match (segment.annotation, is_verb, is_noun) {
            (0, true, true) => 1,
            (1, true, true) => 0,
            (1, false, false) => 1,
            (1, ..) => 2,
            (_, true, true) => 2,
            _ => continue,
        };
        kinds[kind].push(at);
    }
    let mut weights = Vec::new();
    let mut labels = Vec::new();
    for (kind, places) in kinds.iter().enumerate() {
        let mut counts = std::collections::HashMap::new();
        for at in places {
            *counts.entry(&segments[*at].video).or_insert(0_u32) += 1;
        }
        for at in places {
            labels.push(kind == 0);
            let count = counts.get(&segments[*at].video).copied().unwrap_or(1);
            weights.push(1.0 / f64::from(count));
        }
    }
    (labels, weights, kinds.concat())
}

fn check(count: usize, scores: &[f64]) -> Result<()> {
    ensure!(
        count == scores.len(),
        "{count} examples have {} scores",
        scores.len()
    );
    ensure!(
        scores.iter().all(|score| !score.is_nan()),
        "a score is not a number"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_counts_pairs_and_halves_ties() {
        let labels = [true, false, true, false];
        assert_eq!(roc_auc(&labels, &[0.9, 0.1, 0.5, 0.5]).unwrap(), 0.875);
        assert!(roc_auc(&[true, true], &[0.1, 0.2]).is_err());
    }

    #[test]
    fn a_ranking_in_the_order_of_relevance_gathers_all() {
        let relevance = [0.0, 1.0, 0.4];
        assert_eq!(ndcg(&relevance, &relevance, Depth::All).unwrap(), 1.0);
        assert!(ndcg(&relevance, &[3.0, 2.0, 1.0], Depth::Relevant).unwrap() < 0.6);
        assert_eq!(ndcg(&[0.0; 3], &[3.0, 2.0, 1.0], Depth::All).unwrap(), 0.0);
        assert!(ndcg(&[-1.0], &[1.0], Depth::All).is_err());
    }

    #[test]
    fn segments_of_a_video_share_their_weight() {
        let segment = |video: &str, class, verb: &str, noun: &str, annotation| Segment {
            video: video.to_owned(),
            class,
            verb: verb.to_owned(),
            noun: noun.to_owned(),
            annotation,
        };
        let segments = [
            segment("a", 0, "cut", "phone", 1),
            segment("b", 0, "cut", "phone", 0),
            segment("b", 0, "cut", "phone", 0),
            segment("c", 1, "blend", "phone", 1),
        ];
        // For cutting: a is, c shows a part, b's two segments weigh a half each. b is first.
        let scores = vec![
            vec![0.5, 0.1],
            vec![0.9, 0.1],
            vec![0.8, 0.1],
            vec![0.1, 0.9],
        ];
        let found = mwap(&segments, &scores).unwrap();
        assert!((found - f64::midpoint(0.5, 1.0)).abs() < 1e-12, "{found}");
    }
}
