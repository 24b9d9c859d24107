//! What went wrong with a request, in our words.

use std::error::Error as StdError;
use std::io;

use crate::dns::Refusal;
use crate::{Failure, FailureKind};

/// The first error of type `E` in the chain.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The innermost message: the outer ones only say that a request failed.
fn root_message(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Why no answer came.
pub(crate) fn request_failure(error: &reqwest::Error) -> Failure {
    let kind = if let Some(refusal) = find::<Refusal>(error) {
        refusal.kind()
    } else if error.is_dns() {
        FailureKind::Dns
    } else if error.is_timeout() {
        FailureKind::Timeout
    } else if error.is_connect() {
        // What rustls finds wrong with a handshake comes as invalid data of the stream.
        match find::<io::Error>(error).map(io::Error::kind) {
            Some(io::ErrorKind::InvalidData) => FailureKind::Tls,
            _ => FailureKind::Connect,
        }
    } else if error.is_builder() {
        FailureKind::BadUrl
    } else {
        match find::<hyper::Error>(error) {
            Some(error) if error.is_parse() => FailureKind::BadHttp,
            _ => FailureKind::Connect,
        }
    };
    Failure::new(kind, root_message(error))
}

/// Why a body broke off.
pub(crate) fn body_failure(error: &reqwest::Error) -> Failure {
    let is_malformed = find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse)
        || find::<io::Error>(error).is_some_and(|error| {
            // A chunk size that is no number; an early end has a kind of its own.
            matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
            )
        });
    let kind = if is_malformed {
        FailureKind::BadHttp
    } else if error.is_timeout() {
        FailureKind::Timeout
    } else {
        FailureKind::Truncated
    };
    Failure::new(kind, root_message(error))
}
