//! Our tokens against html5ever's.

use std::cell::{Cell, RefCell};

use html5ever::interface::TokenizerResult;
use html5ever::tree_builder::{TreeBuilder, TreeBuilderOpts};
use proptest::prelude::*;

use super::*;
use crate::arena::Arena;

/// What a token is to a reader of the tree.
#[derive(Debug, PartialEq)]
enum Seen {
    Start(String, bool, Vec<(String, String)>),
    End(String),
    Text(String),
    Null,
    Doctype(tokenizer::Doctype),
}

/// Records tokens, and lets the tree builder say what follows from them.
struct Recorder {
    builder: TreeBuilder<u32, Arena>,
    seen: RefCell<Vec<Seen>>,
    /// In text that nobody reads.
    is_unread: Cell<bool>,
}

impl Recorder {
    fn new() -> Self {
        let options = TreeBuilderOpts {
            scripting_enabled: false,
            ..TreeBuilderOpts::default()
        };
        Self {
            builder: TreeBuilder::new(Arena::default(), options),
            seen: RefCell::default(),
            is_unread: Cell::new(false),
        }
    }
}

impl TokenSink for Recorder {
    type Handle = u32;

    fn process_token(&self, token: Token, line: u64) -> TokenSinkResult<u32> {
        let mut seen = self.seen.borrow_mut();
        let mut raw = false;
        match &token {
            Token::DoctypeToken(doctype) => seen.push(Seen::Doctype(doctype.clone())),
            Token::TagToken(tag) if tag.kind == TagKind::StartTag => {
                let attributes = tag.attrs.iter();
                let pair = |held: &Attribute| (held.name.local.to_string(), held.value.to_string());
                let attributes = attributes.map(pair).collect();
                seen.push(Seen::Start(
                    tag.name.to_string(),
                    tag.self_closing,
                    attributes,
                ));
                raw = UNREAD_TEXT.contains(&tag.name);
            }
            Token::TagToken(tag) => seen.push(Seen::End(tag.name.to_string())),
            Token::CharacterTokens(_) | Token::NullCharacterToken if self.is_unread.get() => {}
            Token::CharacterTokens(text) if text.is_empty() => {}
            Token::CharacterTokens(text) => match seen.last_mut() {
                Some(Seen::Text(held)) => held.push_str(text),
                _ => seen.push(Seen::Text(text.to_string())),
            },
            Token::NullCharacterToken => seen.push(Seen::Null),
            Token::CommentToken(_) | Token::ParseError(_) => return TokenSinkResult::Continue,
            Token::EOFToken => {}
        }
        drop(seen);
        let is_tag = matches!(token, Token::TagToken(_));
        let result = self.builder.process_token(token, line);
        if is_tag {
            let is_raw = matches!(result, TokenSinkResult::RawData(_));
            self.is_unread.set(raw && is_raw);
        }
        result
    }

    fn end(&self) {
        self.builder.end();
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&self) -> bool {
        self.builder
            .adjusted_current_node_present_but_not_in_html_namespace()
    }
}

fn ours(html: &str) -> Vec<Seen> {
    let recorder = Recorder::new();
    tokenize(&preprocessed(html), &recorder, Atoms::keeping_all(), 999);
    recorder.seen.into_inner()
}

fn theirs(html: &str) -> Vec<Seen> {
    // html5ever looks for the mark after each script once more.
    let options = tokenizer::TokenizerOpts {
        discard_bom: false,
        ..Default::default()
    };
    let tokenizer = tokenizer::Tokenizer::new(Recorder::new(), options);
    let queue = BufferQueue::default();
    let html = html.strip_prefix('\u{feff}').unwrap_or(html);
    queue.push_back(StrTendril::from_slice(html));
    while !matches!(tokenizer.feed(&queue), TokenizerResult::Done) {}
    tokenizer.end();
    tokenizer.sink.seen.into_inner()
}

/// Pages that are all edges.
const PAGES: [&str; 40] = [
    "",
    "a & b < c > d &amp e &ampf; &copy &nosuch; &#x41 &#65;&#;&",
    "<",
    "a<",
    "</",
    "<a",
    "<a b='c",
    "</>a</ b>c<?d>e<!f>g<!>h",
    "<!-->a<!--->b<!---->c<!--d--!>e<!--f--->g<!--<!--h-->i<!-- j",
    "<!--a--!-->b<!----!>c<!---!>d--><!--!>e-->f<!--<!->g-->h",
    "<!doctype html><p><table>",
    "<!DOCTYPE html PUBLIC \"-//W3C//DTD HTML 4.01//EN\" 'x>y'><p><table>",
    "<!doctype",
    "<!doctypehtml>",
    "<A HREF=b/c D E = 'f' =g \"h'i J/>k</A l=m>",
    "<a b=c b=d>&copy=1<a b='&copy=1&copy;2&copy 3'>",
    "<a b=&lt;c&gt>d",
    "<a/b/c=/d/>e<br/><br / >",
    "<a\0b c\0d=e\0f>\0g\0",
    "a\r\nb\rc\n\r\r\nd<pre>\r\nx</pre><a b='c\r\nd'>",
    "\u{feff}a\u{feff}b",
    "<script>a</b></scripty></SCRIPT x>c",
    "<script><!-- <script> a </script> b --></script>c",
    "<script><!-- a </script>c",
    "<script><!--><script></script>a</script>b",
    "<script><!-- <script></script><script></script></script>a",
    "<script><!-- <scripty></script>a--></script>",
    "<script>a<!-- </script",
    "<style>a</styl></style >b",
    "<title>a&amp;b<c>\0</title>d",
    "<title>a</titl></title",
    "<textarea>\na</textarea>b<textarea></textarea/>c",
    "<xmp><a>&amp;</xmp><plaintext></plaintext>&amp;\0",
    "<iframe><a></iframe><noembed><b></noembed><noframes><c></noframes>d",
    "<svg><title>a<b>c</title><style>d<e>f</style><script>g<h></script></svg>i",
    "<svg><![CDATA[a<b>]]c]]>d<![CDATA[e\0f</svg>",
    "<p><![CDATA[a]]>b",
    "<math><mi><![CDATA[a]]><annotation-xml encoding=text/html><p>b</p><![CDATA[c]]>",
    "<select><option>a<textarea>b</textarea><script>c</script>",
    "<frameset><textarea>a</textarea><noframes>b</noframes>",
];

#[test]
fn edges_are_read_as_by_html5ever() {
    for html in PAGES {
        assert_eq!(ours(html), theirs(html), "{html:?}");
    }
}

/// Reads all pages of a folder: `M3W_PAGES=DIR cargo test -p m3w-dom-align -- --ignored`.
#[test]
#[ignore = "needs a folder of pages"]
fn real_pages_are_read_as_by_html5ever() {
    let folder = std::env::var_os("M3W_PAGES").expect("M3W_PAGES names a folder");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mut html = std::fs::read(&path).unwrap();
        if path.extension().is_some_and(|extension| extension == "gz") {
            let packed = std::mem::take(&mut html);
            let mut reader = flate2::read::MultiGzDecoder::new(packed.as_slice());
            std::io::Read::read_to_end(&mut reader, &mut html).unwrap();
        }
        let html = String::from_utf8_lossy(&html);
        // Only what is beyond the bound of a title may differ.
        let (ours, theirs) = (ours(&html), theirs(&html));
        assert_eq!(ours.len(), theirs.len(), "{}", path.display());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            if let (Seen::Text(ours), Seen::Text(theirs)) = (ours, theirs)
                && theirs.len() > MAX_TITLE_BYTES
                && theirs.starts_with(ours.as_str())
            {
                continue;
            }
            assert_eq!(ours, theirs, "{}", path.display());
        }
    }
}

/// A case takes some microseconds: more than usual, unless `PROPTEST_CASES` asks for more still.
fn many_cases() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: usual.cases.max(3_000),
        ..usual
    }
}

proptest! {
    #![proptest_config(many_cases())]

    #[test]
    fn any_page_is_read_as_by_html5ever(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "<", ">", "/", "!", "-", "--", "->", "=", "\"", "'", "&", "#", ";", "amp", "not",
                "in", "x41", "65", "copy", "a", "B", "script", "</script", "<script", "style",
                "title", "</title>", "<title>", "textarea", "<svg>", "</svg>", "<![CDATA[", "]]>",
                "<!doctype", "public", "xmp", "<table>", "<select>", "<template>", "plaintext",
                "<math>", "<mi>", "<desc>", "<foreignObject>", "<noscript>", "<p>",
                " ", "\n", "\r", "\t", "\0", "\u{c}", "é", "\u{feff}x",
            ]),
            0..40,
        )
    ) {
        let html: String = pieces.concat();
        prop_assert_eq!(ours(&html), theirs(&html), "{:?}", html);
    }
}
