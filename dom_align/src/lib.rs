//! DOM trees to documents with images at their places.
