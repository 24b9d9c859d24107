//! The programs that read videos, kept within bounds: shown with programs of our own in their
//! place, so that it shows on machines without them too.

#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use m3w::shards::Manifest;

/// A folder with a video of which only the first bytes are right, and a folder of programs.
struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let videos = folder.path().join("videos");
        std::fs::create_dir(&videos).unwrap();
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        std::fs::write(videos.join("a.mp4"), b"\0\0\0\x18ftypisom, and no more").unwrap();
        std::fs::write(videos.join("a.txt"), "a video of nothing at all").unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a shell script in the place of a program; asked for its version, it is new enough.
    fn program(&self, name: &str, script: &str) {
        let version = format!("{name} version 7.1 of nobody");
        let text = format!(
            "#!/bin/sh\nif [ \"$1\" = -version ]; then echo '{version}'; exit 0; fi\n{script}\n"
        );
        let path = self.path("bin").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// Builds clips with the programs of the stage; `others` are where other programs are looked
    /// for.
    fn build(&self, others: &str, further: &[&str]) -> Output {
        let arguments = [
            "pairs".to_owned(),
            "--input".to_owned(),
            self.path("videos").display().to_string(),
            "--out".to_owned(),
            self.path("corpus").display().to_string(),
            "--kind".to_owned(),
            "vtp".to_owned(),
            "--quiet".to_owned(),
        ];
        Command::new(env!("CARGO_BIN_EXE_m3w"))
            .args(arguments)
            .args(["--set", "vocabulary_size=400"])
            .args(further)
            .env("PATH", format!("{}:{others}", self.path("bin").display()))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What became of the video.
    fn reasons(&self, further: &[&str]) -> Vec<String> {
        let output = self.build("/usr/bin:/bin", further);
        let manifest = Manifest::load(&self.path("corpus"));
        assert!(output.status.success(), "{output:?}");
        let tally = manifest.unwrap().tally;
        tally
            .step("pair")
            .into_iter()
            .map(|(name, _)| name.to_owned())
            .collect()
    }
}

#[test]
fn programs_that_are_missing_or_too_old_are_named_before_anything_is_done() {
    let stage = Stage::new();
    let complaint = |stage: &Stage| {
        let output = stage.build("/nowhere", &[]);
        assert_eq!(output.status.code(), Some(1));
        assert!(!stage.path("corpus").exists());
        String::from_utf8(output.stderr).unwrap()
    };
    let said = complaint(&stage);
    assert!(said.contains("cannot run `ffmpeg`"), "{said}");
    assert!(said.contains("install ffmpeg 4 or newer"), "{said}");
    stage.program("ffmpeg", "");
    let said = complaint(&stage);
    assert!(said.contains("cannot run `ffprobe`"), "{said}");
    let old = stage.path("bin").join("ffprobe");
    stage.program("ffprobe", "");
    std::fs::write(&old, "#!/bin/sh\necho 'ffprobe version 3.4.8-0ubuntu0.2'\n").unwrap();
    let said = complaint(&stage);
    assert!(said.contains("`ffprobe` has version 3.4.8"), "{said}");
}

#[test]
fn a_program_that_never_ends_is_ended() {
    let stage = Stage::new();
    stage.program("ffprobe", "exec sleep 60");
    stage.program("ffmpeg", "exec sleep 60");
    let reasons = stage.reasons(&["--set", "pairs.video.timeout_s=1"]);
    assert_eq!(reasons, ["pair/video/timeout"]);
}

#[test]
fn a_program_that_wants_more_memory_than_it_may_have_gets_none() {
    // A whole block is held in memory while it is copied.
    let greedy = "dd if=/dev/zero of=/dev/null bs=300M count=1 2>/dev/null || exit 1\n\
                  echo '{\"streams\": [{\"width\": 99999, \"height\": 9}]}'";
    let reasons = |memory_mb: u32| {
        let stage = Stage::new();
        stage.program("ffprobe", greedy);
        stage.program("ffmpeg", "exit 1");
        let setting = format!("pairs.video.memory_mb={memory_mb}");
        stage.reasons(&["--set", &setting])
    };
    // Where the system knows no such bound, the program does without.
    if cfg!(target_os = "linux") {
        assert_eq!(reasons(100), ["pair/video/damaged"]);
    }
    // With enough its description is read, which says what no video is refused for but this.
    assert_eq!(reasons(1000), ["pair/decode/too-many-pixels"]);
}

#[test]
fn a_program_that_writes_without_end_is_not_listened_to() {
    let stage = Stage::new();
    let description =
        "echo '{\"streams\": [{\"width\": 64, \"height\": 64, \"duration\": \"3\"}]}'";
    stage.program("ffprobe", description);
    stage.program("ffmpeg", "exec yes no picture");
    let reasons = stage.reasons(&["--set", "pairs.video.timeout_s=20"]);
    assert_eq!(reasons, ["pair/video/damaged"]);
}

#[test]
fn both_programs_are_told_what_the_file_is_and_that_they_may_read_files_only() {
    let stage = Stage::new();
    let said = |name: &str| stage.path(&format!("{name}-arguments"));
    let script = |name: &str| format!("printf '%s\\n' \"$@\" > '{}'", said(name).display());
    let description =
        "echo '{\"streams\": [{\"width\": 64, \"height\": 64, \"duration\": \"3\"}]}'";
    stage.program("ffprobe", &format!("{}\n{description}", script("ffprobe")));
    stage.program("ffmpeg", &script("ffmpeg"));
    stage.reasons(&[]);
    for name in ["ffprobe", "ffmpeg"] {
        let text = std::fs::read_to_string(said(name)).unwrap();
        let arguments: Vec<&str> = text.lines().collect();
        let position = |wanted: &[&str]| {
            arguments
                .windows(wanted.len())
                .position(|window| window == wanted)
        };
        let whitelist = position(&["-protocol_whitelist", "file,pipe"]).unwrap();
        let format = position(&["-f", "mov"]).unwrap();
        let is_file = |argument: &&str| Path::new(argument).is_absolute();
        let file = arguments.iter().position(is_file).unwrap();
        // What stands behind the file is not said of it.
        assert!(whitelist < file && format < file, "{arguments:?}");
    }
}
