//! What a picture's own metadata say of its use as training data.
//!
//! Two vocabularies: `plus:DataMining` in XMP (PLUS LDF 2.0.1 and IPTC Photo Metadata 2023.1), and
//! the assertion `c2pa.training-mining` (C2PA 1.4, section 18.17; `cawg.training-mining` since) in
//! the JUMBF box of a C2PA manifest. Neither format is parsed whole: XMP is one block of text and
//! CBOR keeps text as it is, in any container, so the names are looked for in the bytes, and the
//! value right behind them. Signatures are not checked: a reservation counts whoever wrote it.
//!
//! Compressed XMP (`zTXt`, a deflated `iTXt`) is not seen. Time is one pass over the bytes for each
//! name; nothing is held.

use memchr::memmem;

use crate::ConsentSignal;

/// Channel of [`ConsentSignal`]s from XMP.
pub const IPTC: &str = "iptc-data-mining";
/// Channel of [`ConsentSignal`]s from C2PA manifests.
pub const C2PA: &str = "c2pa-training-mining";

/// How far behind its name a value is looked for, in bytes.
const REACH: usize = 200;
/// How far behind the assertion's name its entries are looked for.
const ASSERTION_REACH: usize = 2048;
/// Most places at which a name is looked at: pictures hold previews and histories.
const MAX_PLACES: usize = 16;
/// The uses that an assertion may speak of, behind `c2pa.` or `cawg.`.
const USES: [&str; 4] = [
    "ai_generative_training",
    "ai_training",
    "ai_inference",
    "data_mining",
];
/// What may be said of each.
const SAYS: [&str; 3] = ["notAllowed", "constrained", "allowed"];

/// The statements in a picture's bytes, each once.
///
/// ```
/// use m3w_document::image::{IPTC, data_mining};
///
/// let xmp = br#"<rdf:Description plus:DataMining="http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED"/>"#;
/// let signals = data_mining(xmp);
/// assert_eq!(signals[0].channel, IPTC);
/// assert_eq!(signals[0].value, "DMI-PROHIBITED");
/// ```
#[must_use]
pub fn data_mining(bytes: &[u8]) -> Vec<ConsentSignal> {
    let mut signals = Vec::new();
    let mut add = |channel: &str, value: String| {
        let signal = ConsentSignal {
            channel: channel.to_owned(),
            value,
            seen_at: None,
        };
        if !signals.contains(&signal) {
            signals.push(signal);
        }
    };
    for behind in behind_each(bytes, b"plus:DataMining", REACH) {
        let Some(start) = memmem::find(behind, b"DMI-") else {
            continue;
        };
        let is_name = |byte: &&u8| byte.is_ascii_uppercase() || **byte == b'-';
        let name = behind[start..].iter().take_while(is_name);
        let value: String = name.map(|byte| char::from(*byte)).collect();
        add(IPTC, value.trim_end_matches('-').to_owned());
    }
    for behind in behind_each(bytes, b".training-mining", ASSERTION_REACH) {
        for entry in USES {
            let Some(at) = memmem::find(behind, entry.as_bytes()) else {
                continue;
            };
            let value = &behind[at + entry.len()..];
            let value = &value[..value.len().min(REACH / 4)];
            // The longest first: one name is the end of another.
            let said = SAYS.iter().filter_map(|says| {
                let place = memmem::find(value, says.as_bytes())?;
                Some((place, *says))
            });
            if let Some((_, says)) = said.min() {
                add(C2PA, format!("{entry}: {says}"));
            }
        }
    }
    signals
}

/// What stands behind the places of a name, up to `reach` bytes of it.
fn behind_each<'b>(
    bytes: &'b [u8],
    name: &'static [u8],
    reach: usize,
) -> impl Iterator<Item = &'b [u8]> {
    memmem::find_iter(bytes, name)
        .take(MAX_PLACES)
        .map(move |at| {
            let behind = &bytes[at + name.len()..];
            &behind[..behind.len().min(reach)]
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[u8]) -> Vec<String> {
        let signals = data_mining(bytes);
        signals.into_iter().map(|signal| signal.value).collect()
    }

    #[test]
    fn xmp_says_it_in_an_attribute_or_an_element() {
        let element = b"<plus:DataMining>http://ns.useplus.org/ldf/vocab/\
                        DMI-PROHIBITED-AIMLTRAINING</plus:DataMining>";
        assert_eq!(told(element), ["DMI-PROHIBITED-AIMLTRAINING"]);
        let resource =
            b"<plus:DataMining rdf:resource=\"http://ns.useplus.org/ldf/vocab/DMI-ALLOWED\"/>";
        assert_eq!(told(resource), ["DMI-ALLOWED"]);
        assert_eq!(told(b"plus:DataMining"), Vec::<String>::new());
        assert_eq!(told(b"DMI-PROHIBITED"), Vec::<String>::new());
    }

    #[test]
    fn an_assertion_says_it_of_each_use() {
        // CBOR: {"entries": {"c2pa.ai_training": {"use": "notAllowed"}, "c2pa.data_mining": {"use":
        // "allowed"}}}
        let mut bytes = b"\x00\x00jumbc2pa.training-mining\x00cbor\xa1gentries\xa2".to_vec();
        bytes.extend(b"pc2pa.ai_training\xa1cusejnotAllowed");
        bytes.extend(b"pc2pa.data_mining\xa1cusegallowed");
        assert_eq!(
            told(&bytes),
            ["ai_training: notAllowed", "data_mining: allowed"]
        );
    }
}
