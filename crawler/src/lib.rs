//! URLs to pages, politely: HTTP, robots.txt, WARC.
