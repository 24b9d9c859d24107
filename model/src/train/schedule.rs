//! The learning rate over time.

use serde::{Deserialize, Serialize};

/// What becomes of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// It stays, as in the paper.
    #[default]
    Constant,
    /// It falls linearly to 0.
    Linear,
    /// It falls to 0 along half a cosine (Loshchilov and Hutter 2017).
    Cosine,
}

/// A learning rate over time: a linear rise from 0, then the schedule, which reaches 0 at
/// `schedule_steps`.
pub(crate) struct Rates {
    /// The rate after the rise.
    pub(crate) learning_rate: f64,
    pub(crate) warmup_steps: usize,
    pub(crate) schedule: Schedule,
    pub(crate) schedule_steps: usize,
}

impl Rates {
    /// The rate of step `step`, counted from 0.
    pub(crate) fn at(&self, step: usize) -> f64 {
        let warmup = self.warmup_steps;
        if step < warmup {
            return self.learning_rate * step as f64 / warmup as f64;
        }
        let length = self.schedule_steps.saturating_sub(warmup).max(1);
        let done = ((step - warmup) as f64 / length as f64).min(1.0);
        self.learning_rate
            * match self.schedule {
                Schedule::Constant => 1.0,
                Schedule::Linear => 1.0 - done,
                Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_linearly_from_zero_and_stays() {
        let rates = Rates {
            learning_rate: 1e-3,
            warmup_steps: 2,
            schedule: Schedule::Constant,
            schedule_steps: 0,
        };
        let found: Vec<f64> = (0..4).map(|step| rates.at(step)).collect();
        assert_eq!(found, [0.0, 5e-4, 1e-3, 1e-3]);
        let constant = Rates {
            warmup_steps: 0,
            ..rates
        };
        assert_eq!(constant.at(0), 1e-3);
    }

    #[test]
    fn falling_rates_reach_zero_at_the_last_step() {
        let rates = |schedule| -> Vec<f64> {
            let rates = Rates {
                learning_rate: 1.0,
                warmup_steps: 2,
                schedule,
                schedule_steps: 6,
            };
            (0..8).map(|step| rates.at(step)).collect()
        };
        assert_eq!(
            rates(Schedule::Linear),
            [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
        );
        let cosine = rates(Schedule::Cosine);
        assert!((cosine[4] - 0.5).abs() < 1e-12 && cosine[6] == 0.0);
        assert!(cosine[3] > 0.75 && cosine[5] < 0.25);
    }
}
