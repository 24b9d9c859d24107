//! Documents to Parquet rows, and rows to training batches.
