//! The blocks of text of a page, what is counted in each and under each node.
//!
//! A block is the text that stands directly in one element that breaks lines, with that of the
//! inline elements in it.

use url::Url;

use crate::dom::{Node, Tree};
use crate::mark::Mark;
use crate::names::{self, Levels};
use crate::page_kind::PageKind;
use crate::tags::Kind;

/// Characters from which a block that hardly links is running text.
const MIN_PROSE_CHARACTERS: f32 = 80.0;

/// No block.
pub(crate) const NONE: u32 = u32::MAX;

/// The blocks of a page.
pub(crate) struct Blocks {
    pub(crate) blocks: Vec<Block>,
    /// For each node the number of the block in which it stands; [`NONE`] where no text does.
    pub(crate) block_of: Vec<u32>,
    /// Sums over the subtree of each node.
    pub(crate) sums: Vec<Sums>,
    pub(crate) levels: Vec<Levels>,
    signatures: Vec<u32>,
    /// For each node how many siblings, itself included, have its signature.
    repeats: Vec<u32>,
    pub(crate) paths: Vec<Path>,
    pub(crate) page: PageKind,
    pub(crate) first_heading: f32,
}

/// One block.
#[derive(Debug, Clone, Default)]
pub(crate) struct Block {
    pub(crate) node: usize,
    pub(crate) chars: f32,
    pub(crate) linked: f32,
    /// Characters of the page before it.
    pub(crate) before: f32,
    pub(crate) words: f32,
    pub(crate) digits: f32,
    pub(crate) capitals: f32,
    pub(crate) commas: f32,
    pub(crate) stops: f32,
    pub(crate) links: f32,
    pub(crate) images: f32,
    pub(crate) currency: f32,
    /// Of its characters without white space, to know a text that is said again.
    pub(crate) hash: u64,
    pub(crate) first: char,
    pub(crate) last: char,
    pub(crate) path: u32,
}

/// Sums over a subtree.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sums {
    pub(crate) chars: f32,
    pub(crate) linked: f32,
    pub(crate) prose: f32,
    pub(crate) blocks: f32,
    pub(crate) images: f32,
}

/// Blocks whose mark-up is the same for three levels.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Path {
    pub(crate) count: f32,
    pub(crate) chars: f32,
    pub(crate) linked: f32,
}

impl Block {
    /// Share of its characters that are in links.
    pub(crate) fn link_density(&self) -> f32 {
        density(self.linked, self.chars)
    }

    /// Whether it is running text.
    pub(crate) fn is_prose(&self) -> bool {
        self.chars >= MIN_PROSE_CHARACTERS && self.link_density() < 0.4
    }

    fn read(&mut self, text: &str, is_linked: bool) {
        let mut in_word = false;
        let chars = self.chars;
        for c in text.chars() {
            if c.is_whitespace() {
                in_word = false;
                continue;
            }
            self.chars += 1.0;
            self.hash = (self.hash ^ u64::from(c)).wrapping_mul(0x0000_0100_0000_01b3);
            if !in_word {
                self.words += 1.0;
                in_word = true;
            }
            match c {
                '0'..='9' => self.digits += 1.0,
                'A'..='Z' => self.capitals += 1.0,
                ',' | '，' | '、' => self.commas += 1.0,
                '.' | '!' | '?' | '。' | '！' | '？' | '…' => self.stops += 1.0,
                '$' | '€' | '£' | '¥' | '₹' => self.currency += 1.0,
                _ => {}
            }
            if self.first == '\0' {
                self.first = c;
            }
            self.last = c;
        }
        if is_linked {
            self.linked += self.chars - chars;
        }
    }
}

impl Blocks {
    /// Finds the blocks of a page, those in hidden elements too.
    pub(crate) fn find(tree: &Tree, page: &Url, hidden: &[Option<Mark>]) -> Self {
        let count = tree.nodes.len();
        let mut blocks: Vec<Block> = Vec::new();
        // The block element of each node, and the number of the block that each starts.
        let mut holder = vec![0_usize; count];
        let mut number = vec![NONE; count];
        let mut block_of = vec![NONE; count];
        let (mut link_end, mut gone_end, mut all) = (0, 0, 0.0);
        let mut first_heading = -1.0;
        for (index, node) in tree.nodes.iter().enumerate() {
            let is_block = node.kind.breaks_text() || node.kind == Kind::TableCell;
            holder[index] = if is_block { index } else { holder[node.parent] };
            if index < gone_end {
                continue;
            }
            let is_unread = node.text().is_some() && hidden[index].is_some();
            if is_unread || matches!(node.kind, Kind::Invisible | Kind::Svg) {
                gone_end = node.end;
                continue;
            }
            if node.kind == Kind::Anchor && node.attribute("href").is_some() {
                link_end = link_end.max(node.end);
                if let Some(block) = blocks.get_mut(number[holder[index]] as usize) {
                    block.links += 1.0;
                }
            } else if matches!(node.kind, Kind::Image | Kind::Video) {
                if let Some(block) = blocks.get_mut(number[holder[index]] as usize) {
                    block.images += 1.0;
                }
            } else if node.name() == "h1" && first_heading < 0.0 {
                first_heading = all;
            } else if let Some(text) = node.text() {
                if text.trim().is_empty() {
                    continue;
                }
                let at = holder[index];
                if number[at] == NONE {
                    number[at] = u32::try_from(blocks.len()).unwrap_or(NONE - 1);
                    blocks.push(Block {
                        node: at,
                        before: all,
                        ..Block::default()
                    });
                }
                let block = &mut blocks[number[at] as usize];
                let chars = block.chars;
                block.read(text, index < link_end);
                all += block.chars - chars;
            }
        }
        for index in 0..count {
            block_of[index] = number[holder[index]];
        }
        let mut found = Self {
            blocks,
            block_of,
            sums: vec![Sums::default(); count],
            levels: names::levels(tree, |index| {
                hidden[index].is_some_and(|mark| mark.rule == crate::mark::Rule::Hidden)
                    && tree.nodes[index].is_element()
            }),
            signatures: tree.nodes.iter().map(signature).collect(),
            repeats: vec![0; count],
            paths: Vec::new(),
            page: PageKind::read(tree, page),
            first_heading,
        };
        found.sum_up(tree);
        found.count_repeats(tree);
        found.count_paths();
        found
    }

    fn sum_up(&mut self, tree: &Tree) {
        for block in &mut self.blocks {
            let (parent, node) = (tree.nodes[block.node].parent, block.node);
            let grandparent = tree.nodes[parent].parent;
            block.path = [node, parent, grandparent]
                .iter()
                .fold(17, |hash: u32, node| {
                    hash.wrapping_mul(31).wrapping_add(self.signatures[*node])
                });
            self.sums[node] = Sums {
                chars: block.chars,
                linked: block.linked,
                prose: if block.is_prose() { block.chars } else { 0.0 },
                blocks: 1.0,
                images: 0.0,
            };
        }
        for (index, node) in tree.nodes.iter().enumerate().skip(1).rev() {
            if node.kind == Kind::Image {
                self.sums[index].images += 1.0;
            }
            let own = self.sums[index];
            let above = &mut self.sums[node.parent];
            above.chars += own.chars;
            above.linked += own.linked;
            above.prose += own.prose;
            above.blocks += own.blocks;
            above.images += own.images;
        }
    }

    fn count_repeats(&mut self, tree: &Tree) {
        // Sorted, for a page may be made so that hashes collide.
        let mut order: Vec<(usize, u32, usize)> = tree
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.is_element())
            .map(|(index, node)| (node.parent, self.signatures[index], index))
            .collect();
        order.sort_unstable();
        for alike in order.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let count = u32::try_from(alike.len()).unwrap_or(u32::MAX);
            for (_, _, index) in alike {
                self.repeats[*index] = count;
            }
        }
    }

    fn count_paths(&mut self) {
        let mut order: Vec<(u32, usize)> = (0..)
            .zip(&self.blocks)
            .map(|(number, block)| (block.path, number))
            .collect();
        order.sort_unstable();
        self.paths = vec![Path::default(); self.blocks.len()];
        for alike in order.chunk_by(|a, b| a.0 == b.0) {
            let mut path = Path::default();
            for (_, number) in alike {
                path.count += 1.0;
                path.chars += self.blocks[*number].chars;
                path.linked += self.blocks[*number].linked;
            }
            for (_, number) in alike {
                self.paths[*number] = path;
            }
        }
    }

    /// How many siblings, itself included, have the mark-up of the node.
    pub(crate) fn repeats(&self, node: usize) -> u32 {
        self.repeats[node]
    }
}

/// A part of a whole; of nothing, nothing.
pub(crate) fn density(part: f32, whole: f32) -> f32 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// What tells a node's mark-up from its siblings': tag and first class.
fn signature(node: &Node) -> u32 {
    let class = node.attribute("class").unwrap_or_default();
    let first = class.split_ascii_whitespace().next().unwrap_or_default();
    node.name()
        .bytes()
        .chain([b'.'])
        .chain(first.bytes())
        .fold(0x811c_9dc5, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        })
}
