//! From one URL to a list of pages.

use m3w::crawl::{CrawlConfig, CrawlOptions, crawl};
use m3w::crawler::Archives;
use m3w::source::Source;

use super::site::{Site, never, run};

#[test]
fn links_lead_from_one_page_to_a_list_that_does_not_depend_on_timing() {
    let site = Site::start();
    let listed = std::fs::read_to_string(&site.list).unwrap();
    let seed = listed
        .lines()
        .find(|url| url.ends_with("index.html"))
        .unwrap();
    let seeds = site.folder.path().join("seeds.txt");
    std::fs::write(&seeds, seed).unwrap();
    let archive = site.folder.path().join("crawled");
    let mut config = CrawlConfig::default();
    config.crawler.delay_ms = 0;
    config.crawler.allow_private_addresses = true;
    let options = |name: &str, max_depth: usize| CrawlOptions {
        source: Source::Urls {
            path: seeds.clone(),
            column: "url".to_owned(),
        },
        out: site.folder.path().join(name),
        config: CrawlConfig {
            max_depth,
            ..config.clone()
        },
        archives: Archives::default(),
        threads: 2,
        is_quiet: true,
    };
    let alone = options("alone.txt", 0);
    crawl(&alone, &never()).unwrap();
    assert_eq!(std::fs::read_to_string(&alone.out).unwrap().trim(), seed);

    let mut deep = options("deep.txt", 3);
    deep.archives.out = Some(archive.clone());
    let tally = crawl(&deep, &never()).unwrap();
    let found = std::fs::read_to_string(&deep.out).unwrap();
    let found: Vec<&str> = found.lines().collect();
    assert_eq!(found.len() as u64, tally.get("page/found"));
    assert!(found.len() > 3 && found[0] == seed, "{found:?}");
    let mut sorted = found.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), found.len());

    let mut again = options("again.txt", 3);
    again.config.pages_in_flight = 1;
    crawl(&again, &never()).unwrap();
    assert_eq!(
        std::fs::read_to_string(&again.out)
            .unwrap()
            .lines()
            .collect::<Vec<_>>(),
        found
    );

    let mut build = site.options("from-crawl", 2);
    build.source = Source::Urls {
        path: deep.out,
        column: "url".to_owned(),
    };
    let pages = run(&build).tally.get("page/kept");
    assert!(pages > 0);
}
