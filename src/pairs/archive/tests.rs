//! What archives are read as, the sound and the hostile.

use super::*;
use crate::pairs::PairsConfig;

/// A header and content, padded to whole blocks.
fn member(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    member_of(name, kind, &format!("{:011o}\0", content.len()), content)
}

fn member_of(name: &str, kind: u8, length: &str, content: &[u8]) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..136].copy_from_slice(length.as_bytes());
    block[156] = kind;
    block[257..263].copy_from_slice(b"ustar\0");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block.extend(content);
    block.resize(block.len().next_multiple_of(BLOCK), 0);
    block
}

fn found(bytes: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    std::fs::write(&path, bytes).unwrap();
    members(&path)
        .unwrap()
        .map(|found| match found {
            Ok(Found::File(member)) => format!("{} {}", member.name, member.length),
            Ok(Found::Refused { name, reason }) => format!("{name} {}", reason.name),
            Err(ArchiveError::Damaged { problem, .. }) => problem,
            Err(error) => panic!("{error}"),
        })
        .collect()
}

#[test]
fn members_have_names_and_places_in_every_format() {
    let long = format!("folder/{}.jpg", "x".repeat(150));
    let pax = format!("{} path={long}\n", long.len() + 10);
    assert_eq!(pax.len(), long.len() + 10);
    let bytes = [
        member("a/", b'5', b""),
        member("./a/1.jpg", b'0', b"123"),
        member("long", b'L', format!("{long}\0").as_bytes()),
        member("cut", b'0', b"12"),
        member("pax", b'x', pax.as_bytes()),
        member("cut", b'0', &[1; 600]),
        member("global", b'g', b"9 a=bcd\n"),
        member("b", 0, b""),
        vec![0; 2 * BLOCK],
        b"anything".to_vec(),
    ];
    assert_eq!(
        found(&bytes.concat()),
        [
            "a/1.jpg 3".to_owned(),
            format!("{long} 2"),
            format!("{long} 600"),
            "b 0".to_owned()
        ]
    );
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let bytes = [
        member("../up.jpg", b'0', b""),
        member("/abs.jpg", b'0', b""),
        member("a/../../up.jpg", b'0', b""),
        member("d", b'2', b""),
        member("d/x.jpg", b'0', b""),
        member("./d//y.jpg", b'0', b""),
        member("d", b'0', b""),
        member("dev", b'3', b""),
        member("e.jpg", b'0', b""),
    ];
    assert_eq!(
        found(&bytes.concat()),
        [
            "../up.jpg input/bad-name",
            "/abs.jpg input/bad-name",
            "a/../../up.jpg input/bad-name",
            "d input/link",
            "d/x.jpg input/bad-name",
            "./d//y.jpg input/bad-name",
            "d input/bad-name",
            "dev input/no-file",
            "e.jpg 0"
        ]
    );
}

#[test]
fn lengths_that_lie_are_damage_and_take_no_memory() {
    let whole = member("a.jpg", b'0', b"123");
    for (bytes, expected) in [
        (whole[..600].to_vec(), "a.jpg 3"),
        (
            whole[..514].to_vec(),
            "a member of 3 bytes, and the archive ends at 514",
        ),
        (whole[..300].to_vec(), "it ends within a header"),
        (vec![7; 700], "no header of a tar"),
        (
            member_of("a.jpg", b'0', "77777777777\0", b""),
            "a member of 8589934591 bytes, and the archive ends at 512",
        ),
        (
            member_of("a.jpg", b'0', "nine       \0", b""),
            "a length that is no number",
        ),
        (member("n", b'L', &[b'x'; 5000]), "a name of 5000 bytes"),
        (
            member("n", b'x', &[b'x'; 70_000]),
            "a list of properties of 70000 bytes",
        ),
        (
            member("n", b'x', b"999 path=a\n"),
            "a list of properties that is none",
        ),
        (
            member("n", b'x', b"11 size=-1\n"),
            "a length that is no number",
        ),
    ] {
        assert_eq!(found(&bytes), [expected]);
    }
    let mut binary = member("a.jpg", b'0', b"");
    binary[124..136].fill(0xff);
    binary[124] = 0xbf;
    assert_eq!(found(&binary), ["no header of a tar"]);
    assert_eq!(number(&binary[124..136]), None);
    assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]), Some(258));
}

#[test]
fn a_damaged_archive_yields_what_stands_before_the_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    let bytes = [
        member("1.jpg", b'0', b"123"),
        member("1.txt", b'0', b"a cat"),
        member("2.jpg", b'0', b"456"),
        member("1.json", b'0', b"{}"),
        member("3.json", b'0', b"{\"caption\": \"a dog\"}"),
        member("3.jpg", b'0', b"789"),
        vec![1; BLOCK],
    ];
    std::fs::write(&path, bytes.concat()).unwrap();
    let rows = rows(&path, &PairsConfig::default(), 0).unwrap();
    let found: Vec<String> = rows
        .map(|row| match row.unwrap() {
            (shown, Ok(pair)) => format!("{shown} {}", pair.caption),
            (shown, Err(reason)) if shown.contains("damaged") => reason.name.to_string(),
            (shown, Err(reason)) => format!("{shown} {}", reason.name),
        })
        .collect();
    assert_eq!(
        found,
        [
            "a.tar/1.jpg a cat",
            "a.tar/2.jpg input/no-caption",
            "a.tar/1 input/no-picture",
            "a.tar/3.jpg a dog",
            "input/damaged-archive"
        ]
    );
}

proptest::proptest! {
    #[test]
    fn any_bytes_end_without_panic(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..1500),
        flip in 0_usize..2048,
    ) {
        found(&bytes);
        let mut whole = [
            member("n", b'x', b"10 path=a\n"),
            member("1.jpg", b'0', b"123"),
            member("1.txt", b'0', b"a"),
        ]
        .concat();
        let at = flip % whole.len();
        whole[at] ^= 1 << (flip % 8);
        found(&whole);
    }
}
