//! The site of the demonstration and the server that hands it out.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use include_dir::{Dir, include_dir};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

static SITE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/demo/site");
/// Files of the folder that make the site and are no part of it.
const NOT_SERVED: [&str; 2] = ["py", "md"];

/// Serves the site on a free port of the loopback address until it is dropped.
pub struct SiteServer {
    address: SocketAddr,
    /// Runs the server's tasks; dropping it ends them.
    _runtime: Runtime,
}

impl SiteServer {
    /// Starts serving.
    ///
    /// # Errors
    ///
    /// If no port of the loopback address can be had.
    pub fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("cannot start the demonstration's server")?;
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .context("cannot listen on the loopback address")?;
        let address = listener.local_addr().context("the server has no address")?;
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // A client that goes away in the middle is no concern of the server's.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service_fn(answer))
                        .await;
                });
            }
        });
        Ok(Self {
            address,
            _runtime: runtime,
        })
    }

    /// The URLs of all pages, one a line; two of them lead nowhere, as in any real list.
    #[must_use]
    pub fn url_list(&self) -> String {
        let paths = SITE
            .get_file("urls.txt")
            .and_then(|file| file.contents_utf8())
            .unwrap_or_default();
        paths
            .lines()
            .map(|path| format!("http://{}/{path}\n", self.address))
            .collect()
    }
}

async fn answer<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    let extension = path.rsplit('.').next().unwrap_or_default();
    let file = SITE
        .get_file(path)
        .filter(|_| !NOT_SERVED.contains(&extension));
    let mut response = match file {
        Some(file) => Response::new(Full::from(file.contents())),
        None => {
            let mut response = Response::new(Full::from("not found\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    };
    let content_type = match (file, extension) {
        (None, _) | (_, "txt") => "text/plain",
        // No charset: one page declares its own, which is not UTF-8.
        (_, "html") => "text/html",
        (_, "jpg") => "image/jpeg",
        (_, "png") => "image/png",
        (_, "gif") => "image/gif",
        (_, "webp") => "image/webp",
        (_, "svg") => "image/svg+xml",
        (_, "mp4") => "video/mp4",
        (_, "webm") => "video/webm",
        _ => "application/octet-stream",
    };
    let content_type = hyper::header::HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}
