//! What is measured of each block and image, for the training of the weights.

use crate::{Config, Url, block, dom, image_url, likely, measure, prune, tags::Kind, unwanted};

/// An image.
pub struct Image {
    /// Its URL and those of its alternatives.
    pub urls: Vec<String>,
    /// What is measured of it.
    pub values: Vec<f32>,
}

/// Names of the measures and the images of a page, given how likely each block is content.
#[must_use]
pub fn images(
    html: &str,
    url: &Url,
    config: &Config,
    likelihoods: Vec<f32>,
) -> (Vec<String>, Vec<Image>) {
    let (tree, _) = dom::parse(html, config);
    let rules = prune::rules(&tree, url, config.mode);
    let (hidden, mut marks) = (rules.visible, rules.marks);
    prune::inherit(&tree, &mut marks);
    let base = image_url::base_url(&tree, url);
    let images = image_url::Images {
        tree: &tree,
        base: &base,
        config,
    };
    let blocks = block::Blocks::find(&tree, url, &hidden);
    let likelihoods = likely::Likelihoods::of(&blocks, likelihoods);
    let surroundings = likely::Surroundings::new(&tree, &blocks, &likelihoods);
    let (mut names, mut out) = (Vec::new(), Vec::new());
    for (index, node) in tree.nodes.iter().enumerate() {
        let is_hidden = marks[index].is_some_and(|mark| mark.rule == crate::mark::Rule::Hidden);
        let outcome = match node.kind {
            _ if is_hidden => continue,
            Kind::Image => images.image(index),
            Kind::Video => images.poster(index),
            _ => continue,
        };
        let image_url::Outcome::Kept(image) = outcome else {
            continue;
        };
        if unwanted::judge(&tree, index, &image, config).is_some() {
            continue;
        }
        let mut row = measure::Row {
            names: names.is_empty().then(Vec::new),
            ..measure::Row::default()
        };
        surroundings.measure(index, marks[index], &mut row);
        if let Some(held) = row.names {
            names = held;
        }
        let urls = std::iter::once(&image.url).chain(&image.alternatives);
        out.push(Image {
            urls: urls.map(ToString::to_string).collect(),
            values: row.values,
        });
    }
    (names, out)
}

/// A block of text.
pub struct Block {
    /// The text, as it stands in the source.
    pub text: String,
    /// What is measured of it.
    pub values: Vec<f32>,
}

/// Names of the measures and the blocks of a page.
#[must_use]
pub fn blocks(html: &str, url: &Url, config: &Config) -> (Vec<String>, Vec<Block>) {
    let (tree, _) = dom::parse(html, config);
    let rules = prune::rules(&tree, url, config.mode);
    let (hidden, mut marks) = (rules.visible, rules.marks);
    prune::inherit(&tree, &mut marks);
    let found = block::Blocks::find(&tree, url, &hidden);
    let mut names = Vec::new();
    let mut out: Vec<Block> = (0..found.blocks.len())
        .map(|number| {
            let mut row = measure::Row {
                names: (number == 0).then(Vec::new),
                ..measure::Row::default()
            };
            let mark = marks[found.blocks[number].node];
            found.measure(&tree, number, mark, &mut row);
            if let Some(held) = row.names {
                names = held;
            }
            Block {
                text: String::new(),
                values: row.values,
            }
        })
        .collect();
    let mut gone_end = 0;
    for (index, node) in tree.nodes.iter().enumerate() {
        if index < gone_end {
            continue;
        }
        if matches!(
            node.kind,
            crate::tags::Kind::Invisible | crate::tags::Kind::Svg
        ) || (node.text().is_some() && hidden[index].is_some())
        {
            gone_end = node.end;
        } else if let Some(block) = out.get_mut(found.block_of[index] as usize) {
            let own = marks[found.blocks[found.block_of[index] as usize].node];
            if own.is_none() && marks[index].is_some() {
                continue;
            }
            if let Some(text) = node.text() {
                block.text.push_str(text);
            } else if node.kind == crate::tags::Kind::LineBreak {
                block.text.push('\n');
            }
        }
    }
    (names, out)
}
