//! Flamingo in candle: tensors in, tensors out.
