//! The door to libraries that may panic on damaged input.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `work` returns, or the message of its panic.
///
/// The Parquet and tokenizer libraries panic on some damaged files. A damaged file is an error of
/// the world, to be told with its name; what `work` was building is dropped with it, so no
/// half-changed value is seen afterwards.
pub(crate) fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "unknown".to_owned());
        format!("the file is damaged (its decoder gave up: {message})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        let problem = catch_panic(|| -> () { panic!("index 7") }).unwrap_err();
        assert!(problem.contains("index 7"), "{problem}");
        assert_eq!(catch_panic(|| 3), Ok(3));
    }
}
