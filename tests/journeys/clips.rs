//! Short videos to clips: eight frames, one a second, in one row.

use std::path::Path;
use std::process::Command;

use m3w::document::image::decode;
use m3w::shards::{Manifest, SequenceReader, SequenceRow};

use super::site::{files, m3w};

/// Whether the programs that read videos are there; without them a test says so and ends.
#[expect(clippy::print_stderr, reason = "a test that is skipped says why")]
pub(super) fn has_ffmpeg() -> bool {
    match m3w::video::check_programs() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("skipped: {error:#}");
            false
        }
    }
}

/// Makes a video whose left half has the grey 20 + 20 N in second N; the right half is bands.
pub(super) fn video(path: &Path, seconds: u32, codec: &[&str]) {
    let source = format!(
        "color=c=black:size=96x64:rate=10:duration={seconds},format=gray,\
         geq=lum='if(lt(X\\,48)\\,20+20*floor(T+0.001)\\,mod(Y\\,16)*12)'"
    );
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", &source])
        .args(codec)
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn build(input: &Path, out: &Path, further: &[&str]) -> Manifest {
    let (input, name) = (input.display().to_string(), out.display().to_string());
    let arguments = [
        "pairs",
        "--input",
        &input,
        "--kind",
        "vtp",
        "--out",
        &name,
        "--quiet",
        "--set",
        "vocabulary_size=400",
        "--set",
        "shards.sequence_length=64",
    ];
    let output = m3w(&[&arguments[..], further].concat());
    assert!(output.status.success(), "{output:?}");
    Manifest::load(out).unwrap()
}

fn rows(out: &Path, manifest: &Manifest) -> Vec<SequenceRow> {
    let entries = manifest.sequences.iter();
    entries
        .flat_map(|entry| SequenceReader::open(&out.join(&entry.path)).unwrap())
        .map(Result::unwrap)
        .collect()
}

/// The seconds of the source that the frames of a row show.
fn seconds(row: &SequenceRow) -> Vec<u32> {
    row.images
        .iter()
        .map(|frame| {
            let decoded = decode(&frame.bytes, &m3w::document::image::Limits::default()).unwrap();
            // In the left half; three samples a pixel.
            let grey = u32::from(decoded.pixels[3 * (30 * 96 + 20)]);
            (grey.saturating_sub(10)) / 20
        })
        .collect()
}

const H264: [&str; 4] = ["-c:v", "libx264", "-pix_fmt", "yuv420p"];

#[test]
fn videos_of_every_container_become_clips_of_eight_frames() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("videos");
    std::fs::create_dir_all(&root).unwrap();
    video(&root.join("a.mp4"), 11, &H264);
    video(&root.join("b.mov"), 11, &H264);
    video(&root.join("c.webm"), 11, &["-c:v", "libvpx", "-b:v", "1M"]);
    video(&root.join("d.gif"), 11, &[]);
    video(&root.join("e.mp4"), 3, &H264);
    std::fs::write(root.join("f.mp4"), "#EXTM3U\nhttp://127.0.0.1:1/x.ts\n").unwrap();
    std::fs::write(
        root.join("g.mp4"),
        b"\0\0\0\x18ftypisom and then nothing of it",
    )
    .unwrap();
    std::fs::write(root.join("h.mp4"), "no video").unwrap();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let caption = format!("a grey wall {name} that grows lighter");
        std::fs::write(root.join(format!("{name}.txt")), caption).unwrap();
    }
    let out = folder.path().join("corpus");
    let manifest = build(&root, &out, &["--threads", "1"]);
    assert_eq!(manifest.tally.get("pair/kept"), 5, "{:?}", manifest.tally);
    assert_eq!(manifest.tally.get("pair/video/playlist"), 1);
    assert_eq!(manifest.tally.get("pair/video/unknown-format"), 1);
    let rows = rows(&out, &manifest);
    for row in &rows {
        let frames = row.images.len();
        assert_eq!(row.source, "vtp");
        assert_eq!(row.frames_per_image, [frames as u8]);
        assert_eq!(
            frames,
            if row.text.contains(" e ") { 3 } else { 8 },
            "{}",
            row.text
        );
        let times: Vec<f32> = (0..frames).map(|frame| frame as f32).collect();
        assert_eq!(row.frame_times, times);
        let shown = seconds(row);
        assert!(
            shown.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "{shown:?} {}",
            row.text
        );
        assert!(row.images.iter().all(|frame| frame.name.ends_with(".jpeg")));
    }
    // Threads change nothing, another seed draws other starts.
    let again = folder.path().join("again");
    build(&root, &again, &["--threads", "8"]);
    assert!(files(&out) == files(&again));
    let other = folder.path().join("other");
    let manifest = build(&root, &other, &["--seed", "7"]);
    let starts = |rows: &[SequenceRow]| rows.iter().map(|row| seconds(row)[0]).collect::<Vec<_>>();
    assert_ne!(starts(&rows), starts(&self::rows(&other, &manifest)));
}

#[test]
fn times_that_are_given_choose_the_clip() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("videos");
    std::fs::create_dir_all(&root).unwrap();
    video(&root.join("a.mp4"), 11, &H264);
    let subtitles = "1\n00:00:06,000 --> 00:00:09,000\nthe wall is light by now\n";
    std::fs::write(root.join("a.srt"), subtitles).unwrap();
    let out = folder.path().join("subtitles");
    let manifest = build(&root, &out, &[]);
    let row = &rows(&out, &manifest)[0];
    assert!(
        row.text.contains("the wall is light by now"),
        "{}",
        row.text
    );
    assert_eq!(seconds(row), [6, 7, 8, 9]);
    // A table says where clips begin and end.
    let table = "file_name,caption,from,to\na.mp4,a wall in dark grey,2,0:00:04\n\
                 a.mp4,a wall just before the next grey,1.95,3.5\n\
                 a.mp4,a wall in light grey,7.0,\na.mp4,a wall that is gone,20,\n\
                 a.mp4,no time at all here,soon,\n";
    std::fs::write(root.join("metadata.csv"), table).unwrap();
    let out = folder.path().join("table");
    let manifest = build(&root, &out, &["--start-col", "from", "--end-col", "to"]);
    let shown: Vec<Vec<u32>> = rows(&out, &manifest).iter().map(seconds).collect();
    assert_eq!(shown, [vec![2, 3, 4], vec![1, 2], vec![7, 8, 9, 10]]);
    assert_eq!(manifest.tally.get("pair/video/starts-after-its-end"), 1);
    assert_eq!(manifest.tally.get("pair/input/bad-time"), 1);
}
