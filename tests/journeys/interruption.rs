//! A build killed at any moment and started again ends as if nothing had happened.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::site::{Site, files, m3w, run};

/// Arguments of a build that is slow enough to be caught in the middle.
fn arguments(site: &Site, out: &Path) -> Vec<String> {
    [
        "build",
        "--urls",
        &site.list.display().to_string(),
        "--out",
        &out.display().to_string(),
        "--allow-private-addresses",
        "--threads",
        "2",
        "--quiet",
        "--set",
        "inputs_per_shard=5",
        "--set",
        "vocabulary_size=600",
        "--set",
        "crawler.delay_ms=0",
        "--set",
        "shards.windows_per_document=2",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn start(arguments: &[String]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_m3w"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// How far a build has come, in files and bytes of its state: it only grows.
fn progress(out: &Path) -> u64 {
    ["", "documents", "sequences", "outcomes", ".m3w"]
        .iter()
        .filter_map(|folder| std::fs::read_dir(out.join(folder)).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

#[test]
fn a_build_killed_at_several_points_loses_nothing_and_doubles_nothing() {
    let site = Site::start();
    let undisturbed = site.options("undisturbed", 2);
    run(&undisturbed);
    let expected = files(&undisturbed.out);
    let total = progress(&undisturbed.out);
    for hundredths in [1, 15, 30, 45, 60, 75, 90, 98] {
        let out = site.folder.path().join(format!("killed-{hundredths}"));
        let arguments = arguments(&site, &out);
        let mut kills = 0;
        // Twice at each point: the second run starts from what the first left.
        for _ in 0..2 {
            let mut child = start(&arguments);
            while child.try_wait().unwrap().is_none() {
                if progress(&out) >= total * hundredths / 100 {
                    child.kill().unwrap();
                    kills += 1;
                    break;
                }
                thread::sleep(Duration::from_millis(1));
            }
            child.wait().unwrap();
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = m3w(&arguments);
        assert!(output.status.success(), "{output:?}");
        let found = files(&out);
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>(),
            "killed {kills} times at {hundredths} %"
        );
        for (name, bytes) in &expected {
            assert!(
                bytes == &found[name],
                "{name} differs after a kill at {hundredths} %"
            );
        }
    }
}
