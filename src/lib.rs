//! Turns the web into training data for visual language models.
