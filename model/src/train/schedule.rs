//! The learning rate over time.

use serde::{Deserialize, Serialize};

use super::TrainConfig;

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

/// The learning rate of step `step`, counted from 0: a linear rise from 0, then the schedule, which
/// reaches 0 at [`TrainConfig::schedule_steps`].
pub(super) fn learning_rate(config: &TrainConfig, step: usize) -> f64 {
    let warmup = config.warmup_steps;
    if step < warmup {
        return config.learning_rate * step as f64 / warmup as f64;
    }
    let length = config.schedule_steps.saturating_sub(warmup).max(1);
    let done = ((step - warmup) as f64 / length as f64).min(1.0);
    config.learning_rate
        * match config.schedule {
            Schedule::Constant => 1.0,
            Schedule::Linear => 1.0 - done,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_linearly_from_zero_and_stays() {
        let config = TrainConfig {
            learning_rate: 1e-3,
            warmup_steps: 2,
            ..TrainConfig::default()
        };
        let rates: Vec<f64> = (0..4).map(|step| learning_rate(&config, step)).collect();
        assert_eq!(rates, [0.0, 5e-4, 1e-3, 1e-3]);
        let constant = TrainConfig {
            warmup_steps: 0,
            ..config
        };
        assert_eq!(learning_rate(&constant, 0), 1e-3);
    }

    #[test]
    fn falling_rates_reach_zero_at_the_last_step() {
        let config = |schedule| TrainConfig {
            learning_rate: 1.0,
            warmup_steps: 2,
            schedule,
            schedule_steps: 6,
            ..TrainConfig::default()
        };
        let rates = |schedule| -> Vec<f64> {
            (0..8)
                .map(|step| learning_rate(&config(schedule), step))
                .collect()
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
