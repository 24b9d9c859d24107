//! The learning rate over time.

use super::TrainConfig;

/// The learning rate of step `step`, counted from 0: a linear rise from 0, then constant.
pub(super) fn learning_rate(config: &TrainConfig, step: usize) -> f64 {
    if step < config.warmup_steps {
        config.learning_rate * step as f64 / config.warmup_steps as f64
    } else {
        config.learning_rate
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
}
