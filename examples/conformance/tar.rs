//! `tar`: archives that lead elsewhere or lie about their members.

use anyhow::Result;
use m3w::pairs::{ArchiveError, Found, PairSource, PairsConfig, members};

use crate::cases::{Directory, FileCase, TIME_LIMIT};
use crate::report::{Mismatch, Outcome, SuiteResult, check as holds};

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    Ok(directory.run_files("tar", TIME_LIMIT, check))
}

fn check(case: &FileCase) -> Outcome {
    let members = members(&case.path);
    let found: Vec<Result<Found, ArchiveError>> = members
        .map_err(|error| Mismatch::new("an archive that opens", error.to_string()))?
        .collect();
    // A corpus is built from what an archive has before the damage, and each member is a row.
    let rows = PairSource::open(std::slice::from_ref(&case.path), &PairsConfig::default(), 0)
        .and_then(|source| source.rows().collect::<Result<Vec<_>>>());
    let rows = rows.map_err(|error| Mismatch::new("rows", format!("{error:#}")))?;
    holds(!rows.is_empty(), "a row for each member", || {
        "none".to_owned()
    })?;
    match case.verdict.as_str() {
        "reject_members" => {
            let refused = found.iter().filter(|found| is_refused(found)).count();
            holds(refused > 0, "refused members", || format!("{found:?}"))?;
            let kept = found.iter().find(|found| is_led_astray(found));
            holds(kept.is_none(), "only names below the archive", || {
                format!("{kept:?}")
            })?;
            let pair = rows.iter().find(|(_, pair)| pair.is_ok());
            holds(pair.is_none(), "no pair", || format!("{pair:?}"))
        }
        "typed_error" => {
            let is_damaged = matches!(found.last(), Some(Err(ArchiveError::Damaged { .. })));
            holds(is_damaged, "an error that says where", || {
                format!("{found:?}")
            })
        }
        _ => Err(case.unknown_verdict()),
    }
}

fn is_refused(found: &Result<Found, ArchiveError>) -> bool {
    matches!(found, Ok(Found::Refused { .. }))
}

/// Whether a member is taken whose name is absolute, leads up, or stands in another that is none.
fn is_led_astray(found: &Result<Found, ArchiveError>) -> bool {
    let Ok(Found::File(member)) = found else {
        return false;
    };
    member.name.starts_with('/') || member.name.split('/').any(|part| part == "..")
}
