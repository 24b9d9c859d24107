//! What is measured of each block of text: its words and links, what stands around it, what the
//! page is.
//!
//! The measures are those of Kohlschütter et al. 2010 (length, link density, neighbours) and of
//! Readability (names, containers), and those that tell a record of a list from a menu: how often
//! the same mark-up is repeated beside it and on the page.

use crate::block::{Block, Blocks, density};
use crate::dom::{Node, Tree};
use crate::mark::Mark;
use crate::names;

/// Levels above a block at which its containers are measured.
const CONTAINER_LEVELS: [usize; 6] = [1, 2, 3, 4, 6, 8];

/// One block's measures.
#[derive(Default)]
pub(crate) struct Row {
    pub(crate) values: Vec<f32>,
    /// Kept only where somebody asks for the names.
    pub(crate) names: Option<Vec<String>>,
}

impl Row {
    /// Inlined, so that where nobody asks for names they cost nothing: it runs 150 times a block.
    #[inline]
    pub(crate) fn put(&mut self, name: &str, value: f32) {
        self.values.push(value);
        if self.names.is_some() {
            self.put_name(name);
        }
    }

    #[cold]
    fn put_name(&mut self, name: &str) {
        self.names.get_or_insert_default().push(name.to_owned());
    }
}

impl Blocks {
    /// Writes all that is measured of a block. `rules` is what the rules say of it.
    pub(crate) fn measure(&self, tree: &Tree, number: usize, rules: Option<Mark>, row: &mut Row) {
        let block = &self.blocks[number];
        let node = &tree.nodes[block.node];
        let page = &self.sums[0];
        row.put("characters", block.chars);
        row.put("link density", block.link_density());
        row.put("word length", density(block.chars, block.words));
        row.put("words", block.words);
        row.put("commas", density(block.commas, block.words));
        row.put("stops", density(block.stops, block.words));
        row.put("digits", density(block.digits, block.chars));
        row.put("capitals", density(block.capitals, block.words));
        row.put("links", block.links);
        row.put("images", block.images);
        row.put("currency", block.currency);
        row.put(
            "ends a sentence",
            f32::from(u8::from(ends_sentence(block.last))),
        );
        row.put("first", first_class(block.first));
        row.put("last", first_class(block.last));
        row.put("tag", tag_code(node));
        for (place, level) in self.levels[block.node].iter().enumerate() {
            row.put(names::name(place), f32::from(*level));
        }
        self.measure_containers(tree, block, row);
        row.put("place", density(block.before, page.chars));
        row.put("characters before", block.before);
        row.put(
            "place in blocks",
            density(number as f32, self.blocks.len() as f32),
        );
        let after_heading = if self.first_heading < 0.0 {
            -1.0
        } else {
            block.before - self.first_heading
        };
        row.put("after heading", after_heading);
        for step in [-2_isize, -1, 1, 2] {
            let other = number
                .checked_add_signed(step)
                .and_then(|at| self.blocks.get(at));
            row.put(
                "neighbour characters",
                other.map_or(-1.0, |other| other.chars),
            );
            row.put("neighbour density", other.map_or(-1.0, Block::link_density));
            row.put(
                "neighbour tag",
                other.map_or(-1.0, |other| tag_code(&tree.nodes[other.node])),
            );
            row.put(
                "neighbour path",
                other.map_or(-1.0, |other| f32::from(u8::from(other.path == block.path))),
            );
        }
        self.measure_records(tree, block, row);
        let path = self.paths[number];
        row.put("same path", path.count);
        row.put("same path share", density(path.chars, page.chars));
        row.put("same path density", density(path.linked, path.chars));
        row.put("same path length", density(path.chars, path.count));
        row.put(
            "rule",
            rules.map_or(0.0, |mark| 1.0 + f32::from(mark.rule as u8)),
        );
        self.measure_page(row);
    }

    fn measure_containers(&self, tree: &Tree, block: &Block, row: &mut Row) {
        let page = &self.sums[0];
        let mut above = block.node;
        let mut level = 0;
        for wanted in CONTAINER_LEVELS {
            while level < wanted {
                above = tree.nodes[above].parent;
                level += 1;
            }
            let sums = &self.sums[above];
            row.put("container share", density(sums.chars, page.chars));
            row.put("container density", density(sums.linked, sums.chars));
            row.put("container prose", density(sums.prose, sums.chars));
            row.put("container blocks", sums.blocks);
            row.put("container images", sums.images);
        }
    }

    /// The nearest element around the block that is one of at least three alike, and the one of
    /// most alike.
    fn measure_records(&self, tree: &Tree, block: &Block, row: &mut Row) {
        let page = &self.sums[0];
        let (mut nearest, mut most) = (None, (0, 0, 0));
        let mut above = block.node;
        for level in 0..8 {
            if above == 0 {
                break;
            }
            let repeats = self.repeats(above);
            if repeats >= 3 && level > 0 && nearest.is_none() {
                nearest = Some((level, above, repeats));
            }
            if repeats > most.2 {
                most = (level, above, repeats);
            }
            above = tree.nodes[above].parent;
        }
        for (level, record, repeats) in [nearest.unwrap_or_default(), most] {
            let list = &self.sums[tree.nodes[record].parent];
            let sums = &self.sums[record];
            row.put("record level", level as f32);
            row.put("records", repeats as f32);
            row.put("record characters", sums.chars);
            row.put("record density", density(sums.linked, sums.chars));
            row.put("record images", sums.images);
            row.put("records share", density(list.chars, page.chars));
            row.put("records density", density(list.linked, list.chars));
        }
    }

    fn measure_page(&self, row: &mut Row) {
        let page = &self.sums[0];
        row.put("page characters", page.chars);
        row.put("page density", density(page.linked, page.chars));
        row.put("page prose", density(page.prose, page.chars));
        row.put("page blocks", page.blocks);
        row.put("page images", page.images);
        row.put("page open graph", self.page.open_graph);
        row.put("page generator", self.page.generator);
        row.put("page address", self.page.address);
        row.put("page body", self.page.body);
        row.put("page articles", self.page.articles);
        row.put("page main", self.page.has_main);
        row.put("page schema", self.page.schema);
        row.put("page path", self.page.path_parts);
        row.put("page paragraphs", self.page.paragraphs);
    }
}

fn ends_sentence(last: char) -> bool {
    matches!(
        last,
        '.' | '!' | '?' | '。' | '！' | '？' | '…' | ':' | ';' | '"' | '”' | ')'
    )
}

fn first_class(c: char) -> f32 {
    match c {
        'A'..='Z' => 1.0,
        'a'..='z' => 2.0,
        '0'..='9' => 3.0,
        '.' | '!' | '?' => 4.0,
        ':' => 5.0,
        '©' | '|' | '»' | '›' | '→' | '•' | '·' => 6.0,
        _ if c.is_alphabetic() => 7.0,
        _ => 8.0,
    }
}

fn tag_code(node: &Node) -> f32 {
    match node.name() {
        "p" => 1.0,
        "h1" => 2.0,
        "h2" => 3.0,
        "h3" => 4.0,
        "h4" | "h5" | "h6" => 5.0,
        "li" => 6.0,
        "pre" => 7.0,
        "blockquote" => 8.0,
        "dd" => 9.0,
        "dt" => 10.0,
        "td" => 11.0,
        "th" => 12.0,
        "figcaption" => 13.0,
        "article" | "section" | "main" => 14.0,
        "div" => 15.0,
        "summary" | "details" => 16.0,
        "ul" | "ol" => 17.0,
        "form" | "fieldset" | "legend" | "option" => 18.0,
        "header" | "footer" | "nav" | "aside" => 19.0,
        _ => 20.0,
    }
}
