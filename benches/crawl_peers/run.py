"""m3w beside img2dataset and Scrapy on one loopback server. See README.md."""
import argparse
import io
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

PORT = 8190
HOST = "127.0.4.1"
BIN = Path(sys.executable).parent

NGINX = """
worker_processes 1; daemon on; pid {work}/nginx.pid; error_log {work}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  types {{ text/html html; image/jpeg jpg; image/png png; image/webp webp; image/gif gif; }}
  log_format t '$msec $server_addr $connection_requests $status "$request_uri"';
  access_log {work}/access.log t;
  keepalive_requests 100000; keepalive_timeout 60s; sendfile on; open_file_cache max=20000;
  client_body_temp_path {work}/t1; proxy_temp_path {work}/t2; fastcgi_temp_path {work}/t3;
  uwsgi_temp_path {work}/t4; scgi_temp_path {work}/t5;
  server {{ {listen} root {root}; location = /all-pages.html {{ alias {work}/all-pages.html; }} }}
}}
"""


class Server:
    """An nginx of our own; its log is what politeness and reuse are read from."""

    def __init__(self, work, root, hosts=(HOST,)):
        self.work = work
        listen = "".join(f"listen {host}:{PORT};" for host in hosts)
        (work / "nginx.conf").write_text(NGINX.format(work=work, root=root, listen=listen))

    def __enter__(self):
        subprocess.run(["nginx", "-c", self.work / "nginx.conf", "-e", self.work / "error.log"], check=True)
        return self

    def __exit__(self, *_):
        pid = (self.work / "nginx.pid").read_text().strip()
        subprocess.run(["kill", "-QUIT", pid], check=True)

    def log(self):
        """Lines written since the last call: time, address, requests on the connection, status, path."""
        time.sleep(0.2)
        path = self.work / "access.log"
        lines = [line.split() for line in path.read_text().splitlines()]
        path.write_text("")
        return lines


def run(what, command, server, count):
    """Runs a command to its end and prints what it cost."""
    server.log()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.time()
    # Peak memory of one command alone: its own time(1) process sees no other.
    done = subprocess.run(["/usr/bin/env", "python3", "-c", WRAPPER, *map(str, command)], capture_output=True, text=True)
    seconds = time.time() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{what} failed:\n{done.stderr[-3000:]}")
    peak = json.loads(done.stderr.splitlines()[-1])["peak_mib"]
    log = server.log()
    reused = sum(1 for line in log if int(line[2]) > 1)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    number = count()
    print(json.dumps({
        "what": what, "seconds": round(seconds, 2), "cpu_s": round(cpu, 2), "peak_mib": peak, "count": number,
        "per_s": round(number / seconds, 1), "cpu_ms_each": round(1000 * cpu / max(number, 1), 2),
        "requests": len(log), "reused": round(reused / max(len(log), 1), 4),
    }), flush=True)
    return log


WRAPPER = """
import json, resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
print(json.dumps({"peak_mib": peak}), file=sys.stderr)
sys.exit(code)
"""


def m3w(args, out, urls, *more):
    shutil.rmtree(out, ignore_errors=True)
    return [args.m3w, "build", "--urls", urls, "--out", out, "--allow-private-addresses", "--quiet",
            "--set", "vocabulary_size=600", "--set", "crawler.delay_ms=0", "--set", "filter.text.min_words=0",
            "--set", "crawler.connections_per_host=32", *more]


def pairs(args, out, listed, *settings):
    shutil.rmtree(out, ignore_errors=True)
    settings = ("vocabulary_size=600", "crawler.delay_ms=0", "crawler.connections_per_host=32", "images.side_px=256",
                "images.keep_original=false", "filter.image.max_aspect_ratio=100", *settings)
    return [args.m3w, "pairs", "--kind", "pairs", "--input", listed, "--out", out, "--allow-private-addresses", "--quiet",
            *(word for setting in settings for word in ("--set", setting))]


def outcomes(out):
    for path in sorted(Path(out).glob("outcomes/*.jsonl")):
        yield from map(json.loads, path.open())


def make_pictures(folder, source, number):
    """Pictures with the formats and sizes of the web, made from photographs."""
    from PIL import Image
    photographs = [path for path in Path(source).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")]
    rng = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for index in range(number):
        kind = rng.random()
        extension = "jpg" if kind < 0.88 else "png" if kind < 0.94 else "webp" if kind < 0.98 else "gif"
        name = f"{index:05}.{extension}"
        names.append(name)
        if (folder / name).exists():
            continue
        picture = Image.open(rng.choice(photographs)).convert("RGB")
        pixels = min(0.5e6 * 2 ** rng.gauss(0, 1.5), 16e6)
        width = int((pixels * picture.width / picture.height) ** 0.5)
        width = max(80, min(width, 4096, int(4096 * picture.width / picture.height)))
        left, top = rng.random() * 0.1, rng.random() * 0.1
        box = [int(left * picture.width), int(top * picture.height), int((left + 0.9) * picture.width), int((top + 0.9) * picture.height)]
        picture = picture.crop(box).resize((width, max(80, width * picture.height // picture.width)), Image.BICUBIC)
        options = {"quality": 85, "progressive": rng.random() < 0.3} if extension == "jpg" else {}
        picture.save(folder / name, **options)
    return names


def psnr(out, folder):
    """Distance of what was stored to a full decode and a Lanczos filter, in dB."""
    import numpy
    import pyarrow.parquet
    from PIL import Image
    values = []
    for path in sorted(Path(out).glob("documents/*.parquet")):
        table = pyarrow.parquet.read_table(path, columns=["images", "image_metadata"])
        for row in table.to_pylist():
            for image, about in zip(row["images"], row["image_metadata"]):
                if image is None or about["sha256_fetched"] == about["sha256_stored"]:
                    continue
                stored = Image.open(io.BytesIO(image["bytes"])).convert("RGB")
                whole = Image.open(folder / about["url"].rsplit("/", 1)[1]).convert("RGB")
                expected = numpy.asarray(whole.resize(stored.size, Image.LANCZOS), float)
                error = ((numpy.asarray(stored, float) - expected) ** 2).mean()
                values.append(10 * numpy.log10(255 ** 2 / max(error, 1e-9)))
    return {"psnr_mean": round(statistics.mean(values), 2), "psnr_least": round(min(values), 2), "compared": len(values)}


def images(args):
    root = args.work / "web"
    names = make_pictures(root / "img", args.pictures, args.number)
    base = f"http://{HOST}:{PORT}"
    (args.work / "images.txt").write_text("".join(f"{base}/img/{name}\n" for name in names))
    listed = args.work / "images.csv"
    listed.write_text("url,caption\n" + "".join(f"{base}/img/{name},A picture called {name}\n" for name in names))
    few = args.work / "few.csv"
    few.write_text("".join(listed.read_text().splitlines(keepends=True)[:501]))
    out, theirs = args.work / "m3w", args.work / "img2dataset"
    with Server(args.work, root) as server:
        for _ in range(args.repeat):
            run("m3w", pairs(args, out, listed, "images.jpeg_quality=95"), server,
                lambda: sum(outcome["images_kept"] for outcome in outcomes(out)))
            shutil.rmtree(theirs, ignore_errors=True)
            run("img2dataset", [BIN / "img2dataset", "--url_list", args.work / "images.txt", "--input_format", "txt",
                                "--output_folder", theirs, "--output_format", "parquet", "--image_size", "256",
                                "--resize_mode", "keep_ratio", "--encode_quality", "95", "--processes_count", "2",
                                "--thread_count", "32", "--disable_all_reencoding", "False"], server,
                lambda: sum(json.loads(path.read_text())["successes"] for path in theirs.glob("*_stats.json")))
        print(json.dumps({"what": "as stored", **psnr(out, root / "img")}), flush=True)
        # Decoding and scaling alone: JPEG at half the colour resolution loses more than both.
        subprocess.run(list(map(str, pairs(args, out, few, "images.encoding=png"))), check=True, capture_output=True)
        print(json.dumps({"what": "before encoding", **psnr(out, root / "img")}))


SPIDER = """
import scrapy
class Pages(scrapy.Spider):
    name = "pages"
    start_urls = open({urls!r}).read().split()
    custom_settings = {{"LOG_LEVEL": "ERROR", "CONCURRENT_REQUESTS": 32, "CONCURRENT_REQUESTS_PER_DOMAIN": 32,
                       "DOWNLOAD_DELAY": 0, "ROBOTSTXT_OBEY": True, "RETRY_ENABLED": True, "TELNETCONSOLE_ENABLED": False}}
    def parse(self, response):
        links = [response.urljoin(link) for link in response.css("a::attr(href)").getall()]
        yield {{"url": response.url, "html": response.text, "links": links}}
"""


def pages(args):
    root = Path(args.root).resolve()
    paths = sorted(path.relative_to(root) for path in root.rglob("*.html"))[:args.number]
    urls = args.work / "html.txt"
    urls.write_text("".join(f"http://{HOST}:{PORT}/{path}\n" for path in paths))
    out, theirs, spider = args.work / "m3w", args.work / "scrapy.jsonl", args.work / "spider.py"
    spider.write_text(SPIDER.format(urls=str(urls)))
    found, warc, metrics = args.work / "found.txt", args.work / "warc", args.work / "metrics.json"
    with Server(args.work, root) as server:
        for _ in range(args.repeat):
            # What the spider does: fetch, find the links, store.
            shutil.rmtree(warc, ignore_errors=True)
            run("m3w crawl", [args.m3w, "crawl", "--urls", urls, "--out", found, "--warc-out", warc, "--allow-private-addresses", "--quiet",
                              "--max-depth", "1", "--max-pages", len(paths), "--set", "sitemaps=false", "--set", "crawler.delay_ms=0",
                              "--set", "crawler.connections_per_host=32"], server,
                lambda: sum(1 for _ in found.open()))
            run("m3w build", m3w(args, out, urls, "--set", "filter.max_images_fetched=0", "--set", "filter.min_images=0", "--metrics", metrics),
                server, lambda: sum(1 for outcome in outcomes(out) if outcome["document_id"]))
            # Without the tokenizer and the training rows, of which a spider knows nothing.
            collected = json.loads(metrics.read_text())
            print(json.dumps({"what": "m3w build, its documents", "seconds": round(collected["elapsed_s"], 2),
                              "count": collected["pages_done"], "per_s": round(collected["pages_per_s"], 1)}), flush=True)
            if args.spider:
                # It has no list of URLs, but follows links: one page that has them all.
                links = "".join(f'<a href="/{path}">.</a>\n' for path in paths)
                (args.work / "all-pages.html").write_text(links)
                start, urls_out = f"http://{HOST}:{PORT}/all-pages.html", args.work / "spider.txt"
                run("spider", [args.spider, start, len(paths) + 1, urls_out], server,
                    lambda: sum(1 for _ in urls_out.open()))
            theirs.unlink(missing_ok=True)
            run("scrapy", [BIN / "scrapy", "runspider", spider, "-o", theirs], server,
                lambda: sum(1 for _ in theirs.open()))


def hosts(args):
    delay, each, number = 0.1, 50, 60
    root = args.work / "web"
    root.mkdir(parents=True, exist_ok=True)
    words = "a page about rivers, bridges and the towns between them "
    for page in range(each):
        (root / f"{page}.html").write_text(f"<p>Page {page}: {words * 5}</p>")
    addresses = [f"127.0.5.{host + 1}" for host in range(number)]
    urls = args.work / "hosts.txt"
    # Host after host: the worst order.
    urls.write_text("".join(f"http://{address}:{PORT}/{page}.html\n" for address in addresses for page in range(each)))
    out = args.work / "m3w"
    with Server(args.work, root, addresses) as server:
        command = m3w(args, out, urls, "--set", f"crawler.delay_ms={int(delay * 1000)}", "--set", "filter.min_images=0",
                      "--set", "crawler.connections_per_host=2")
        log = run("m3w", command, server, lambda: sum(1 for _ in outcomes(out)))
    starts = {address: sorted(float(line[0]) for line in log if line[1] == address) for address in addresses}
    gaps = [b - a for times in starts.values() for a, b in zip(times, times[1:])]
    began = min(times[0] for times in starts.values())
    ended = max(times[-1] for times in starts.values())
    longest = max(len(times) for times in starts.values())
    print(json.dumps({
        # The log has milliseconds, and the time at which an answer ends.
        "violations": sum(1 for gap in gaps if gap < delay - 0.015), "least_gap_s": round(min(gaps), 3),
        "seconds": round(ended - began, 2), "allowed_s": round((longest - 1) * delay, 2),
        "share_of_allowed": round((longest - 1) * delay / (ended - began), 3),
    }))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for everything that is made")
    parser.add_argument("--m3w", default="target/release/m3w")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--number", type=int, default=2000, help="pictures or pages")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("images")
    command.add_argument("--pictures", required=True, help="folder of photographs")
    command.set_defaults(run=images)
    command = commands.add_parser("pages")
    command.add_argument("--root", required=True, help="folder of HTML pages")
    command.add_argument("--spider", help="the program of the folder spider, if it is to be compared with")
    command.set_defaults(run=pages)
    commands.add_parser("hosts").set_defaults(run=hosts)
    args = parser.parse_args()
    args.work = args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    os.chmod(args.work, 0o755)
    args.run(args)


main()
