//! What each tag means for a reader.

use html5ever::{LocalName, Namespace, local_name, ns};

/// Formatting elements that may stand in one another. The tree builder compares each new one with
/// all that are open, and opens all anew in each paragraph; no reader needs more.
pub(crate) const MAX_FORMATTING_DEPTH: usize = 48;

/// Part of a tag in the page's text flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Not an element.
    Text,
    /// Never shown: scripts, metadata, templates, form controls that hold no text of the page.
    Invisible,
    /// Text before and after it is not of one block.
    Block,
    Heading,
    List,
    ListItem,
    Table,
    TableRow,
    TableCell,
    Preformatted,
    LineBreak,
    Figure,
    FigureCaption,
    Anchor,
    Image,
    Picture,
    PictureSource,
    Video,
    Svg,
    NoScript,
    /// Anything else: flows with the text around it.
    Inline,
}

impl Kind {
    /// Whether text before and after such an element's edge is of different blocks.
    pub(crate) fn breaks_text(self) -> bool {
        matches!(
            self,
            Self::Block
                | Self::Heading
                | Self::List
                | Self::ListItem
                | Self::Table
                | Self::TableRow
                | Self::Preformatted
                | Self::Figure
                | Self::FigureCaption
        )
    }
}

/// The kind of an element.
pub(crate) fn kind(name: &LocalName, namespace: &Namespace) -> Kind {
    if *namespace == ns!(svg) {
        return if *name == local_name!("svg") {
            Kind::Svg
        } else {
            Kind::Invisible
        };
    }
    if *namespace == ns!(mathml) {
        let is_source = matches!(&**name, "annotation" | "annotation-xml");
        return if is_source {
            Kind::Invisible
        } else {
            Kind::Inline
        };
    }
    match &**name {
        "script" | "style" | "template" | "head" | "title" | "meta" | "link" | "base"
        | "object" | "iframe" | "noembed" | "noframes" | "frameset" | "frame" | "textarea"
        | "select" | "input" | "datalist" | "progress" | "meter" | "audio" | "canvas" | "map"
        | "area" | "param" | "track" | "rp" | "dialog" | "applet" | "embed" => Kind::Invisible,
        "address" | "article" | "aside" | "blockquote" | "body" | "center" | "details" | "dd"
        | "div" | "dt" | "fieldset" | "footer" | "form" | "header" | "hgroup" | "hr" | "html"
        | "legend" | "main" | "nav" | "option" | "p" | "search" | "section" | "summary"
        | "caption" | "tbody" | "thead" | "tfoot" | "amp-carousel" | "amp-accordion" => Kind::Block,
        "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => Kind::Heading,
        "ul" | "ol" | "menu" | "dir" | "dl" => Kind::List,
        "li" => Kind::ListItem,
        "table" => Kind::Table,
        "tr" => Kind::TableRow,
        "td" | "th" => Kind::TableCell,
        "pre" | "xmp" | "listing" | "plaintext" => Kind::Preformatted,
        "br" => Kind::LineBreak,
        "figure" => Kind::Figure,
        "figcaption" => Kind::FigureCaption,
        "a" => Kind::Anchor,
        "img" | "amp-img" | "amp-anim" => Kind::Image,
        "picture" => Kind::Picture,
        "source" => Kind::PictureSource,
        "video" | "amp-video" => Kind::Video,
        "noscript" => Kind::NoScript,
        _ => Kind::Inline,
    }
}

/// Elements that the tree builder opens anew after it had to close them.
///
/// Source: HTML standard, "the list of active formatting elements".
pub(crate) fn is_formatting(name: &LocalName) -> bool {
    matches!(
        *name,
        local_name!("a")
            | local_name!("b")
            | local_name!("big")
            | local_name!("code")
            | local_name!("em")
            | local_name!("font")
            | local_name!("i")
            | local_name!("nobr")
            | local_name!("s")
            | local_name!("small")
            | local_name!("strike")
            | local_name!("strong")
            | local_name!("tt")
            | local_name!("u")
    )
}

/// Elements without content, which are never open.
pub(crate) fn is_void(name: &LocalName) -> bool {
    matches!(
        *name,
        local_name!("area")
            | local_name!("base")
            | local_name!("br")
            | local_name!("col")
            | local_name!("embed")
            | local_name!("hr")
            | local_name!("img")
            | local_name!("image")
            | local_name!("input")
            | local_name!("link")
            | local_name!("meta")
            | local_name!("param")
            | local_name!("source")
            | local_name!("track")
            | local_name!("wbr")
    )
}
