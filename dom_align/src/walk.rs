//! The walk over what is left of a page: texts and images, in document order.
//!
//! One pass over the nodes with a stack of open elements. Text gathers in a buffer, white space
//! collapsed as a browser does, until an element that breaks lines, or an image, ends the block.
//! An image stands between exactly the words between which it stands in the tree.

use m3w_document::{Element, ImageRef, Reason, Text, TextRole};

use crate::caption;
use crate::dom::Tree;
use crate::image_url::{Images, Outcome};
use crate::lines::Lines;
use crate::mark::Mark;
use crate::tags::Kind;
use crate::unwanted;
use crate::{CaptionPlacement, Config, Dropped, Mode};

/// Elements between a caption and its image at most. It keeps the search for a caption's image
/// from growing with the page.
const MAX_CAPTION_DISTANCE: usize = 32;

/// What the walk found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) elements: Vec<Element<ImageRef>>,
    pub(crate) dropped: Vec<Dropped>,
    /// The node of each dropped image.
    pub(crate) dropped_nodes: Vec<usize>,
    pub(crate) inline_svg: usize,
}

/// Walks the tree, leaving out each subtree for which `removed` names a reason.
pub(crate) fn walk(images: &Images<'_>, removed: &[Option<Mark>]) -> Found {
    let tree = images.tree;
    let mut walk = Walk {
        images,
        tree,
        config: images.config,
        row_is_data: rows_of_data(tree),
        open: Vec::new(),
        lines: Lines::default(),
        found: Found::default(),
        kept_images: 0,
        noscript_end: 0,
        caption: None,
        waiting_caption: None,
    };
    let mut index = 0;
    while index < tree.nodes.len() {
        walk.close_before(index);
        index = match removed[index] {
            Some(mark) => walk.leave_out(index, mark),
            None => walk.enter(index),
        };
    }
    walk.close_before(usize::MAX);
    walk.end_block();
    walk.found
}

/// For each node, whether it is a table row whose cells hold no blocks: a row of data, told from
/// the rows of tables that only lay a page out.
fn rows_of_data(tree: &Tree) -> Vec<bool> {
    let mut holds_block = vec![false; tree.nodes.len()];
    for (index, node) in tree.nodes.iter().enumerate().rev() {
        let is_block = node.kind.breaks_text() && !is_single_paragraph(tree, index);
        holds_block[node.parent] |= is_block || holds_block[index];
    }
    tree.nodes
        .iter()
        .zip(holds_block)
        .map(|(node, holds_block)| node.kind == Kind::TableRow && !holds_block)
        .collect()
}

/// A `<p>` that is all of a table cell: generators write cells that way.
fn is_single_paragraph(tree: &Tree, index: usize) -> bool {
    let node = &tree.nodes[index];
    let parent = &tree.nodes[node.parent];
    let is_blank = |child: usize| {
        let text = tree.nodes[child].text();
        text.is_some_and(|text| text.trim().is_empty())
    };
    node.name() == "p"
        && parent.kind == Kind::TableCell
        && tree
            .children(node.parent)
            .take(4)
            .all(|child| child == index || is_blank(child))
}

/// An open element.
struct Open {
    end: usize,
    node: usize,
    role: TextRole,
    is_figure: bool,
    is_caption: bool,
    /// Elements found before it.
    first_element: usize,
}

struct Walk<'a> {
    images: &'a Images<'a>,
    tree: &'a Tree,
    config: &'a Config,
    row_is_data: Vec<bool>,
    open: Vec<Open>,
    lines: Lines,
    found: Found,
    kept_images: usize,
    /// End of the `<noscript>` that is being walked.
    noscript_end: usize,
    /// The caption that is being read.
    caption: Option<Vec<String>>,
    /// Place of a caption that came before its image, and the end of the figure it belongs to.
    waiting_caption: Option<(usize, usize)>,
}

impl Walk<'_> {
    fn role(&self) -> TextRole {
        self.open
            .last()
            .map_or(TextRole::Paragraph, |open| open.role)
    }

    /// Visits a node; gives the index of the next.
    fn enter(&mut self, index: usize) -> usize {
        let node = &self.tree.nodes[index];
        match node.kind {
            Kind::Text => {
                let is_preformatted = self.role() == TextRole::Preformatted;
                self.lines
                    .push(node.text().unwrap_or_default(), is_preformatted);
                return node.end;
            }
            Kind::Invisible => return node.end,
            Kind::Svg => {
                self.found.inline_svg += 1;
                return node.end;
            }
            Kind::LineBreak => {
                if self.lines.break_line() && self.role() != TextRole::Preformatted {
                    self.end_block();
                }
                return node.end;
            }
            Kind::Image => {
                self.image(index, self.images.image(index));
                return node.end;
            }
            Kind::Video => {
                if node
                    .attribute("poster")
                    .or_else(|| node.attribute("data-poster"))
                    .is_some()
                {
                    self.image(index, self.images.poster(index));
                }
                return node.end;
            }
            Kind::NoScript => self.noscript_end = self.noscript_end.max(node.end),
            _ => {}
        }
        self.open(index);
        index + 1
    }

    fn open(&mut self, index: usize) {
        let node = &self.tree.nodes[index];
        let above = self.role();
        let is_caption = self.caption.is_none() && self.is_caption(index);
        if node.kind.breaks_text() || is_caption {
            self.end_block();
        }
        let role = match node.kind {
            Kind::Heading => TextRole::Heading,
            Kind::Preformatted => TextRole::Preformatted,
            Kind::ListItem => TextRole::ListItem,
            Kind::TableRow if self.row_is_data[index] => TextRole::TableRow,
            Kind::Table => TextRole::Paragraph,
            _ => above,
        };
        if node.kind == Kind::TableCell {
            if above == TextRole::TableRow {
                self.lines.separate_cell();
            } else {
                self.end_block();
            }
        }
        if is_caption {
            self.caption = Some(Vec::new());
        }
        self.open.push(Open {
            end: node.end,
            node: index,
            role,
            is_figure: caption::is_figure(node),
            is_caption,
            first_element: self.found.elements.len(),
        });
    }

    fn close_before(&mut self, index: usize) {
        while let Some(open) = self.open.pop_if(|open| open.end <= index) {
            let kind = self.tree.nodes[open.node].kind;
            let ends_cell = kind == Kind::TableCell && open.role != TextRole::TableRow;
            if kind.breaks_text() || open.is_caption || ends_cell {
                // The block still has the role of the element that closes.
                self.end_block_as(open.role);
            }
            if open.is_caption {
                self.end_caption();
            }
        }
    }

    fn end_block(&mut self) {
        self.end_block_as(self.role());
    }

    fn end_block_as(&mut self, role: TextRole) {
        let Some(content) = self.lines.take() else {
            return;
        };
        match &mut self.caption {
            Some(parts) => parts.push(content),
            None => self
                .found
                .elements
                .push(Element::Text(Text::new(role, content))),
        }
    }

    /// Skips a subtree; its images are counted.
    fn leave_out(&mut self, index: usize, mark: Mark) -> usize {
        let node = &self.tree.nodes[index];
        if node.kind.breaks_text() {
            self.end_block();
        }
        for image in index..node.end {
            if self.tree.nodes[image].kind == Kind::Image {
                let url = match self.images.image(image) {
                    Outcome::Kept(image) => Some(shorten(image.url.as_str())),
                    Outcome::Dropped { url, .. } => url,
                };
                self.drop_image(image, url, mark.reason());
            }
        }
        node.end
    }

    fn drop_image(&mut self, index: usize, url: Option<String>, reason: Reason) {
        self.found.dropped_nodes.push(index);
        self.found.dropped.push(Dropped { url, reason });
    }

    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    fn image(&mut self, index: usize, outcome: Outcome) {
        let image = match outcome {
            Outcome::Dropped { url, reason } => return self.drop_image(index, url, reason),
            Outcome::Kept(image) => image,
        };
        let url = Some(shorten(image.url.as_str()));
        if let Some(reason) = unwanted::judge(self.tree, index, &image, self.config) {
            return self.drop_image(index, url, reason);
        }
        if self.is_noscript_twin(index, &image) {
            if index < self.noscript_end {
                self.prefer_noscript(*image);
            }
            return self.drop_image(index, url, Reason::new("align/duplicate-noscript"));
        }
        if self.config.mode == Mode::Main && self.is_copy(&image) {
            return self.drop_image(index, url, Reason::new("align/duplicate"));
        }
        let max = self.config.max_images;
        if self.kept_images >= max {
            let reason = Reason::measured("align/too-many-images", (max + 1) as f64, max as f64);
            return self.drop_image(index, url, reason);
        }
        self.kept_images += 1;
        self.end_block();
        self.found.elements.push(Element::Image(*image));
        self.take_waiting_caption(index);
    }

    /// Whether the same picture stands right before, with no word between: pages hold copies for
    /// other widths of the window.
    fn is_copy(&self, image: &ImageRef) -> bool {
        let found = self.found.elements.iter().rev();
        self.lines.is_empty()
            && found
                .map_while(Element::as_image)
                .take(MAX_CAPTION_DISTANCE)
                .any(|held| held.url == image.url)
    }

    /// Whether the image is the copy of the one before it, one of the two in a `<noscript>`.
    fn is_noscript_twin(&self, index: usize, image: &ImageRef) -> bool {
        let is_in_noscript = index < self.noscript_end;
        let follows_noscript = self.noscript_end > 0
            && self.tree.nodes[self.noscript_end - 1].kind == Kind::Image
            && index <= self.noscript_end + 4;
        if !(is_in_noscript || follows_noscript) || !self.lines.is_empty() {
            return false;
        }
        let Some(Element::Image(previous)) = self.found.elements.last() else {
            return false;
        };
        let urls = |image: &ImageRef| -> Vec<String> {
            let all = std::iter::once(&image.url).chain(&image.alternatives);
            all.map(|url| url[url::Position::BeforeHost..url::Position::AfterPath].to_owned())
                .collect()
        };
        let held = urls(previous);
        urls(image).iter().any(|url| held.contains(url))
            || (is_in_noscript && self.stands_beside_image(index))
    }

    /// Gives the last image the URL of its copy for browsers without scripts, which needs no
    /// script to be a picture of full size.
    fn prefer_noscript(&mut self, copy: ImageRef) {
        let Some(Element::Image(image)) = self.found.elements.last_mut() else {
            return;
        };
        if image.url != copy.url {
            let lazy = std::mem::replace(&mut image.url, copy.url);
            image.alternatives.retain(|url| *url != image.url);
            image.alternatives.insert(0, lazy);
        }
        image.alt = image.alt.take().or(copy.alt);
    }

    /// Whether the `<noscript>` around this image directly follows an image element.
    fn stands_beside_image(&self, index: usize) -> bool {
        let noscript = self
            .tree
            .ancestors(index)
            .find(|ancestor| self.tree.nodes[*ancestor].kind == Kind::NoScript);
        let Some(noscript) = noscript else {
            return false;
        };
        let before = (1..noscript).rev().take(3).find(|before| {
            let text = self.tree.nodes[*before].text();
            text.is_none_or(|text| !text.trim().is_empty())
        });
        before.is_some_and(|before| self.tree.nodes[before].kind == Kind::Image)
    }

    /// Whether the element is a caption: by its tag, or by its class beside a picture.
    fn is_caption(&self, index: usize) -> bool {
        let node = &self.tree.nodes[index];
        if caption::is_figure_caption(node) || caption::is_figure_title(self.tree, index) {
            return true;
        }
        caption::is_like_caption(node)
            && (self
                .figure()
                .is_some_and(|figure| self.last_image(figure.first_element).is_some())
                || (self.lines.is_empty()
                    && matches!(self.found.elements.last(), Some(Element::Image(_)))))
    }

    fn figure(&self) -> Option<&Open> {
        self.open.iter().rev().find(|open| open.is_figure)
    }

    /// Place of the last image found at or after `from`, if it is near.
    fn last_image(&self, from: usize) -> Option<usize> {
        let from = from.max(
            self.found
                .elements
                .len()
                .saturating_sub(MAX_CAPTION_DISTANCE),
        );
        let found = self.found.elements.get(from..)?;
        let image = found
            .iter()
            .rposition(|element| element.as_image().is_some());
        image.map(|place| from + place)
    }

    fn end_caption(&mut self) {
        let parts = self.caption.take().unwrap_or_default();
        if parts.is_empty() {
            return;
        }
        let caption = parts.join("\n");
        let elements = self.found.elements.len();
        let (first, end) = match self.figure() {
            Some(figure) => (figure.first_element, Some(figure.end)),
            None => (elements.saturating_sub(1), None),
        };
        match self.last_image(first) {
            Some(image) => self.attach_caption(image, first, caption),
            None => {
                self.found
                    .elements
                    .push(Element::Text(Text::paragraph(caption)));
                self.waiting_caption = end.map(|end| (elements, end));
            }
        }
    }

    /// Gives the caption that was read before the image to the image just found.
    fn take_waiting_caption(&mut self, index: usize) {
        let Some((place, end)) = self.waiting_caption.take() else {
            return;
        };
        let is_right_before = place + 2 == self.found.elements.len() && index < end;
        if !is_right_before {
            return;
        }
        if let Element::Text(text) = self.found.elements.remove(place) {
            for open in &mut self.open {
                open.first_element = open.first_element.min(place);
            }
            self.attach_caption(place, place, text.content);
        }
    }

    /// Puts a caption beside the image at `image` and tells it to the images of the same row.
    fn attach_caption(&mut self, image: usize, first: usize, caption: String) {
        let mut row_start = image;
        while row_start > first.max(image.saturating_sub(MAX_CAPTION_DISTANCE))
            && self.found.elements[row_start - 1].as_image().is_some()
        {
            row_start -= 1;
        }
        for element in &mut self.found.elements[row_start..=image] {
            if let Element::Image(image) = element {
                image.caption = Some(match image.caption.take() {
                    Some(held) => format!("{held}\n{caption}"),
                    None => caption.clone(),
                });
            }
        }
        let is_caption = |element: &&Element<ImageRef>| {
            element
                .as_text()
                .is_some_and(|text| text.role == TextRole::Caption)
        };
        let place = match self.config.caption_placement {
            CaptionPlacement::After => {
                let after = &self.found.elements[image + 1..];
                image + 1 + after.iter().take_while(is_caption).count()
            }
            CaptionPlacement::Before => row_start,
        };
        self.found
            .elements
            .insert(place, Element::Text(Text::caption(caption)));
    }
}

fn shorten(url: &str) -> String {
    url[..url.floor_char_boundary(256)].to_owned()
}
