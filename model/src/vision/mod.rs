//! Vision encoders: pictures in, patch tokens out.

mod vit;

pub use vit::VisionTransformer;
