//! A server that answers on this machine, in the form of OpenAI's chat completions.
//!
//! | | |
//! |---|---|
//! | `GET /` | a page to try prompts |
//! | `GET /v1/models` | the model's name |
//! | `POST /v1/chat/completions` | messages with pictures to an answer, whole or word by word |
//!
//! Pictures come as data URLs; others are refused, so that nobody can make the server fetch. One
//! question is answered at a time and few wait. What is held is bounded: [`MAX_BODY_BYTES`] for each
//! of [`MAX_WAITING`] requests, beside the model.

mod request;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::stream::unfold;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::answer::{Answer, answer_told};
use crate::trained::TrainedModel;

use request::{Asked, parse};

/// Longest request: some pictures as base64.
pub const MAX_BODY_BYTES: usize = 32 << 20;
/// Most requests that are answered or wait for it.
pub const MAX_WAITING: usize = 16;
/// Most connections.
const MAX_CONNECTIONS: usize = 64;
/// Time that a client has for the head of a request, and for its body.
const PATIENCE: Duration = Duration::from_secs(30);
/// Parts of an answer that are made before the client reads them.
const PARTS_AHEAD: usize = 64;

const PAGE: &str = include_str!("serve/page.html");

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Answers until `stop` turns true. `ready` is told the address, which has a port of the system's
/// choice where `address` has port 0.
///
/// # Errors
///
/// If the address cannot be had.
pub fn serve(
    trained: TrainedModel,
    name: &str,
    address: SocketAddr,
    ready: impl FnOnce(SocketAddr),
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the server")?;
    let listener = runtime
        .block_on(TcpListener::bind(address))
        .with_context(|| format!("cannot listen on {address}: another --port may be free"))?;
    let address = listener.local_addr().context("the server has no address")?;
    ready(address);
    let server = Arc::new(Server {
        trained,
        name: name.to_owned(),
        is_local: address.ip().is_loopback(),
        waiting: Arc::new(Semaphore::new(MAX_WAITING)),
        answering: Arc::new(Semaphore::new(1)),
    });
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    runtime.block_on(async {
        loop {
            let place = tokio::select! {
                place = Arc::clone(&connections).acquire_owned() => place,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Ok(place) = place else {
                return;
            };
            let stream = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Ok((stream, _)) = stream else {
                // Out of files, mostly: some will be closed soon.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                let _place = place;
                let answer = service_fn(move |request| Arc::clone(&server).reply(request));
                // A client that goes away in the middle is no concern of the server's.
                let _ = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(PATIENCE)
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
            });
        }
    });
    // An answer under way is not waited for.
    runtime.shutdown_background();
    Ok(())
}

struct Server {
    trained: TrainedModel,
    name: String,
    /// Whether only this machine reaches it.
    is_local: bool,
    waiting: Arc<Semaphore>,
    answering: Arc<Semaphore>,
}

impl Server {
    async fn reply<B>(self: Arc<Self>, request: Request<B>) -> Result<Reply, Infallible>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // A page elsewhere may give its name this machine's address; its requests still say the name.
        if self.is_local && !request.headers().get(HOST).is_some_and(is_this_machine) {
            return Ok(refusal(
                StatusCode::FORBIDDEN,
                "only this machine is answered",
            ));
        }
        Ok(match (request.method(), request.uri().path()) {
            (&Method::GET, "/") => text("text/html; charset=utf-8", PAGE),
            (&Method::GET, "/v1/models") => reply_json(
                StatusCode::OK,
                &json!({
                    "object": "list",
                    "data": [{"id": self.name, "object": "model", "owned_by": "m3w"}],
                }),
            ),
            (&Method::POST, "/v1/chat/completions") => self.completions(request).await,
            (_, "/" | "/v1/models" | "/v1/chat/completions") => refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "this is not how it is asked",
            ),
            _ => refusal(StatusCode::NOT_FOUND, "there is nothing here"),
        })
    }

    async fn completions<B>(self: Arc<Self>, request: Request<B>) -> Reply
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // Forms of other pages cannot send this type without asking first.
        let kind = request.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("application/json") {
            let told = "the body must be application/json";
            return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, told);
        }
        let Ok(place) = Arc::clone(&self.waiting).try_acquire_owned() else {
            let told = "too many questions wait: ask again later";
            return refusal(StatusCode::SERVICE_UNAVAILABLE, told);
        };
        let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
        let body = match tokio::time::timeout(PATIENCE, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                let told = format!("the request has more than {MAX_BODY_BYTES} bytes");
                return refusal(StatusCode::PAYLOAD_TOO_LARGE, &told);
            }
            Ok(Err(_)) => return refusal(StatusCode::BAD_REQUEST, "the body broke off"),
            Err(_) => return refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come"),
        };
        let asked = match parse(&body) {
            Ok(asked) => asked,
            Err(error) => return refusal(StatusCode::BAD_REQUEST, &format!("{error:#}")),
        };
        let Ok(turn) = Arc::clone(&self.answering).acquire_owned().await else {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "the server stops");
        };
        if asked.is_streamed {
            self.streamed(asked, (place, turn))
        } else {
            self.whole(asked, (place, turn)).await
        }
    }

    async fn whole(self: Arc<Self>, asked: Asked, places: Places) -> Reply {
        let answered = tokio::task::spawn_blocking(move || {
            let _places = places;
            let answer = answer_told(&self.trained, &asked.pieces, &asked.options, |_| {})?;
            anyhow::Ok(self.completion(&answer))
        });
        match answered.await {
            Ok(Ok(completion)) => reply_json(StatusCode::OK, &completion),
            Ok(Err(error)) => refusal(StatusCode::BAD_REQUEST, &format!("{error:#}")),
            Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "the answer broke off"),
        }
    }

    fn completion(&self, answer: &Answer) -> Value {
        let (prompt, new) = (answer.prompt_tokens, answer.tokens);
        json!({
            "id": format!("chatcmpl-{}", now().as_nanos()),
            "object": "chat.completion",
            "created": now().as_secs(),
            "model": self.name,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": answer.text.trim()},
                "finish_reason": finish_reason(answer),
            }],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": new,
                "total_tokens": prompt + new,
            },
        })
    }

    /// The answer as events, each with the words that are new.
    fn streamed(self: Arc<Self>, asked: Asked, places: Places) -> Reply {
        let (parts, made) = mpsc::channel(PARTS_AHEAD);
        tokio::task::spawn_blocking(move || {
            let _places = places;
            let id = format!("chatcmpl-{}", now().as_nanos());
            let created = now().as_secs();
            // Whoever went away hears no more; the answer is short enough to be finished.
            let tell = |delta: Value, finish: Option<&str>| {
                let event = json!({
                    "id": id, "object": "chat.completion.chunk", "created": created,
                    "model": self.name,
                    "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
                });
                let _ = parts.blocking_send(format!("data: {event}\n\n"));
            };
            tell(json!({"role": "assistant", "content": ""}), None);
            let mut shown = 0;
            let answered = answer_told(&self.trained, &asked.pieces, &asked.options, |text| {
                // The last character may be half of one until its next token is there.
                let whole = text.trim_end_matches('\u{fffd}').len();
                if let Some(news) = text.get(shown..whole)
                    && !news.is_empty()
                {
                    tell(json!({"content": news}), None);
                    shown = whole;
                }
            });
            match answered {
                Ok(answer) => {
                    if let Some(rest) = answer.text.get(shown..)
                        && !rest.is_empty()
                    {
                        tell(json!({"content": rest}), None);
                    }
                    tell(json!({}), Some(finish_reason(&answer)));
                }
                Err(error) => {
                    let told = error_json(&format!("{error:#}"));
                    let _ = parts.blocking_send(format!("data: {told}\n\n"));
                }
            }
            let _ = parts.blocking_send("data: [DONE]\n\n".to_owned());
        });
        let events = unfold(made, async |mut made| {
            let part = made.recv().await?;
            Some((Ok(Frame::data(Bytes::from(part))), made))
        });
        let mut response = Response::new(StreamBody::new(events).boxed_unsync());
        let kind = HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

/// A place among those that wait, and the turn to be answered.
type Places = (OwnedSemaphorePermit, OwnedSemaphorePermit);

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Why an answer ended, in the words of OpenAI's form.
fn finish_reason(answer: &Answer) -> &'static str {
    if answer.is_cut { "length" } else { "stop" }
}

fn is_this_machine(host: &HeaderValue) -> bool {
    let host = host.to_str().unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

fn error_json(told: &str) -> Value {
    json!({"error": {"message": told, "type": "invalid_request_error"}})
}

fn refusal(status: StatusCode, told: &str) -> Reply {
    reply_json(status, &error_json(told))
}

fn reply_json(status: StatusCode, value: &Value) -> Reply {
    let mut response = text("application/json", value.to_string());
    *response.status_mut() = status;
    response
}

fn text(kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_its_own() {
        let is_own = |host: &'static str| is_this_machine(&HeaderValue::from_static(host));
        for host in ["localhost", "127.0.0.1:8080", "[::1]:80", "localhost:1"] {
            assert!(is_own(host), "{host}");
        }
        for host in [
            "example.org",
            "127.0.0.1.example.org:80",
            "localhost.evil",
            "",
        ] {
            assert!(!is_own(host), "{host}");
        }
    }
}
