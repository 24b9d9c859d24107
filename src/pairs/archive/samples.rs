//! The members of an archive as samples: what has one name up to its first dot.

use std::path::Path;

use anyhow::Result;
use m3w_document::Reason;

use super::{ArchiveError, Found, Member, members};
use crate::pairs::PairsConfig;
use crate::pairs::row::Row;
use crate::pairs::sample::{Holder, Part};

/// Most files of one sample; further ones make another.
const MAX_PARTS: usize = 100;

/// The rows of an archive's samples: members that follow each other and have one name up to the
/// first dot of its last part. An archive that is damaged yields what stands before the damage, and
/// one row for that.
pub(in crate::pairs) fn rows(
    path: &Path,
    config: &PairsConfig,
    seed: u64,
) -> Result<Box<dyn Iterator<Item = Result<Row>>>> {
    let mut members = members(path)?;
    let (path, config) = (path.to_owned(), config.clone());
    let mut next: Option<(String, Vec<Part>)> = None;
    let mut waiting: std::vec::IntoIter<Row> = Vec::new().into_iter();
    Ok(Box::new(std::iter::from_fn(move || {
        let holder = Holder {
            path: &path,
            is_archive: true,
            config: &config,
            seed,
        };
        loop {
            if let Some(row) = waiting.next() {
                return Some(Ok(row));
            }
            let mut sample = next.take();
            // What ends the sample, if that is a row of its own.
            let after: Option<Row> = loop {
                match members.next() {
                    Some(Ok(Found::File(member))) => {
                        let (key, part) = part(member);
                        match &mut sample {
                            Some((its, parts)) if *its == key && parts.len() < MAX_PARTS => {
                                parts.push(part);
                            }
                            Some(_) => {
                                next = Some((key, vec![part]));
                                break None;
                            }
                            None => sample = Some((key, vec![part])),
                        }
                    }
                    Some(Ok(Found::Refused { name, reason })) => {
                        break Some((holder.shown(&name), Err(reason)));
                    }
                    Some(Err(error @ ArchiveError::Damaged { .. })) => {
                        tracing::warn!("{error}");
                        let reason = Reason::new("input/damaged-archive");
                        break Some((error.to_string(), Err(reason)));
                    }
                    Some(Err(error)) => return Some(Err(error.into())),
                    None => break None,
                }
            };
            if sample.is_none() && after.is_none() {
                return None;
            }
            let rows = sample.map(|(key, parts)| holder.rows(&key, &parts));
            let rows = rows.into_iter().flatten().chain(after);
            waiting = rows.collect::<Vec<Row>>().into_iter();
        }
    })))
}

fn part(member: Member) -> (String, Part) {
    let last = member.name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = member.name[last..].find('.');
    let end = dot.map_or(member.name.len(), |dot| last + dot);
    let extension = member.name[end..].trim_start_matches('.');
    let key = member.name[..end].to_owned();
    let part = Part {
        extension: extension.to_ascii_lowercase(),
        offset: member.offset,
        length: member.length,
        name: member.name,
    };
    (key, part)
}
