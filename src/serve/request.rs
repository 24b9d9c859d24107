//! What a client asks: messages of words and pictures, and how to go on.

use anyhow::{Context, Result, bail, ensure};
use data_url::DataUrl;
use m3w_model::GenerateOptions;
use serde::Deserialize;

use crate::prompt::{Piece, check_media};

/// Most tokens of an answer.
pub(super) const MAX_NEW_TOKENS: usize = 1024;
/// Tokens of an answer where the client names none.
const NEW_TOKENS: usize = 64;

/// A question.
#[derive(Debug)]
pub(super) struct Asked {
    /// The prompt.
    pub(super) pieces: Vec<Piece>,
    /// How to go on.
    pub(super) options: GenerateOptions,
    /// Whether the answer is sent word by word.
    pub(super) is_streamed: bool,
}

// Clients send many more members; what is not here has no effect.
#[derive(Deserialize)]
struct Body {
    messages: Vec<Message>,
    #[serde(default)]
    max_tokens: Option<usize>,
    #[serde(default)]
    max_completion_tokens: Option<usize>,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    top_p: Option<f64>,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    n: Option<usize>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: Content,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part {
    Text { text: String },
    ImageUrl { image_url: ImageUrl },
}

#[derive(Deserialize)]
struct ImageUrl {
    url: String,
}

/// Reads a request's body.
pub(super) fn parse(body: &[u8]) -> Result<Asked> {
    let body: Body = serde_json::from_slice(body).context("this is no chat completion request")?;
    ensure!(body.n.unwrap_or(1) == 1, "`n` must be 1");
    let mut pieces = Vec::new();
    for message in body.messages {
        ensure!(
            matches!(
                message.role.as_str(),
                "system" | "developer" | "user" | "assistant"
            ),
            "there is no role `{}`",
            message.role
        );
        match message.content {
            Content::Text(text) => words(&mut pieces, text),
            Content::Parts(parts) => {
                for part in parts {
                    match part {
                        Part::Text { text } => words(&mut pieces, text),
                        Part::ImageUrl { image_url } => pieces.push(picture(&image_url.url)?),
                    }
                }
            }
        }
    }
    ensure!(!pieces.is_empty(), "the messages are empty");
    check_media(&pieces)?;
    let named = body.max_completion_tokens.or(body.max_tokens);
    let max_new_tokens = named.unwrap_or(NEW_TOKENS);
    ensure!(
        (1..=MAX_NEW_TOKENS).contains(&max_new_tokens),
        "`max_tokens` must lie between 1 and {MAX_NEW_TOKENS}"
    );
    Ok(Asked {
        pieces,
        options: GenerateOptions {
            max_new_tokens,
            temperature: body.temperature.unwrap_or(0.0),
            top_p: body.top_p.unwrap_or(1.0),
            seed: body.seed.unwrap_or(0),
            ..GenerateOptions::default()
        },
        is_streamed: body.stream.unwrap_or(false),
    })
}

/// Words behind words begin with a space; the models know no roles.
fn words(pieces: &mut Vec<Piece>, text: String) {
    match pieces.last_mut() {
        Some(Piece::Text(before)) => {
            before.push(' ');
            before.push_str(&text);
        }
        _ if text.is_empty() => {}
        _ => pieces.push(Piece::Text(text)),
    }
}

fn picture(url: &str) -> Result<Piece> {
    if !url.starts_with("data:") {
        bail!("pictures are not fetched: send them as data URLs (data:image/png;base64,…)");
    }
    let data = DataUrl::process(url).ok();
    let bytes = data.and_then(|data| data.decode_to_vec().ok());
    let (bytes, _) = bytes.context("a data URL cannot be decoded")?;
    Ok(Piece::Sent(bytes.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_pictures_keep_their_order() {
        let body = r#"{"model": "x", "max_tokens": 5, "stream": true, "messages": [
            {"role": "system", "content": "Say what you see."},
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                {"type": "text", "text": "What"}, {"type": "text", "text": "is it?"}]}]}"#;
        let asked = parse(body.as_bytes()).unwrap();
        let expected = [
            Piece::Text("Say what you see.".to_owned()),
            Piece::Sent("hi".into()),
            Piece::Text("What is it?".to_owned()),
        ];
        assert_eq!(asked.pieces, expected);
        assert!(asked.is_streamed);
        assert_eq!(asked.options.max_new_tokens, 5);
    }

    #[test]
    fn what_is_refused_is_named() {
        let with =
            |parts: &str| format!(r#"{{"messages": [{{"role": "user", "content": {parts}}}]}}"#);
        let remote = r#"[{"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png"}}]"#;
        let broken = r#"[{"type": "image_url", "image_url": {"url": "data:image/png;base64,!"}}]"#;
        for (body, expected) in [
            (with(remote), "are not fetched"),
            (with(broken), "cannot be decoded"),
            (with(r#""""#), "are empty"),
            ("{}".to_owned(), "no chat completion request"),
            (with(r#""a""#).replace("user", "king"), "no role `king`"),
            (
                with(r#""a""#).replace("{\"messages", "{\"max_tokens\": 9999, \"messages"),
                "between 1",
            ),
        ] {
            let told = format!("{:#}", parse(body.as_bytes()).unwrap_err());
            assert!(told.contains(expected), "{body}: {told}");
        }
    }
}
