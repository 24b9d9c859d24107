//! `m3w generate`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use m3w_model::GenerateOptions;

use super::compute::Compute;
use crate::answer::{answer, answer_pieces};
use crate::prompt::{Piece, VideoPart, read_prompt};
use crate::trained::TrainedModel;

/// Continue text for pictures with a trained or imported model
///
/// `--image`, `--video` and `--text`, each repeated as often as needed, make a prompt in the order
/// they are given; so do the parts of a `--prompt-file`. Words are printed as they come.
#[derive(Debug, Args)]
pub(super) struct Generate {
    /// Directory of the training run or the imported model
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    #[command(flatten)]
    pieces: Pieces,
    /// Words to continue; `<image>` stands for the next picture, and without any the pictures
    /// come first
    #[arg(long, value_name = "TEXT", default_value = "", conflicts_with_all = ["text", "video"])]
    prompt: String,
    /// JSON list of parts: {"image": FILE}, {"text": WORDS}, {"frames": [FILE, …]} or
    /// {"video": FILE, "start_s": 0, "end_s": 8, "most_frames": 8}; paths count from its folder
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["prompt", "text", "image", "video"]
    )]
    prompt_file: Option<PathBuf>,
    /// Most tokens to add
    #[arg(long, value_name = "N", default_value_t = 32)]
    max_new_tokens: usize,
    /// 0 takes the likeliest token each time; above 0 draws, the higher the freer
    #[arg(long, default_value_t = 0.0)]
    temperature: f64,
    /// Draw only among the N likeliest tokens; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    top_k: usize,
    /// Draw only among the likeliest tokens of this total probability
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f64,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Follow this many continuations side by side and print the best one
    #[arg(long, value_name = "N", default_value_t = 1)]
    beams: usize,
    /// Divide a beam's score by its length, the prompt's included, to this power
    #[arg(
        long,
        value_name = "P",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    length_penalty: f64,
    #[command(flatten)]
    compute: Compute,
}

/// Pictures and words in the order of the command line, which derived arguments forget.
#[derive(Debug)]
struct Pieces(Vec<Piece>);

impl FromArgMatches for Pieces {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut placed = Vec::new();
        if let Some(pictures) = matches.get_many::<PathBuf>("image") {
            let places = matches.indices_of("image").into_iter().flatten();
            placed.extend(places.zip(pictures.cloned().map(Piece::Picture)));
        }
        if let Some(videos) = matches.get_many::<PathBuf>("video") {
            let places = matches.indices_of("video").into_iter().flatten();
            let videos = videos.cloned().map(VideoPart::from_start);
            placed.extend(places.zip(videos.map(Piece::Video)));
        }
        if let Some(texts) = matches.get_many::<String>("text") {
            let places = matches.indices_of("text").into_iter().flatten();
            placed.extend(places.zip(texts.cloned().map(Piece::Text)));
        }
        placed.sort_by_key(|(place, _)| *place);
        Ok(Self(placed.into_iter().map(|(_, piece)| piece).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Pieces {
    fn augment_args(command: Command) -> Command {
        let repeated = |name: &'static str| Arg::new(name).long(name).action(ArgAction::Append);
        let image = repeated("image")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("A picture; may be given several times");
        let video = repeated("video")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("A video, of which the first 8 seconds are shown; may be given several times");
        let text = repeated("text")
            .value_name("TEXT")
            .allow_hyphen_values(true)
            .help("Words at this place among the pictures; may be given several times");
        command.arg(image).arg(video).arg(text)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl Generate {
    pub(super) fn run(self) -> Result<()> {
        // Only where tensors are made: a build would hold its peak to the end.
        crate::model::keep_freed_memory();
        let trained = TrainedModel::load_as(&self.checkpoint, &self.compute.running())?;
        let options = GenerateOptions {
            max_new_tokens: self.max_new_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            seed: self.seed,
            beams: self.beams,
            length_penalty: self.length_penalty,
            ..GenerateOptions::default()
        };
        let mut out = std::io::stdout();
        let mut shown = 0;
        let on_text = |text: &str| {
            // The last character may be half of one until its next token is there.
            let whole = text.trim_end_matches('\u{fffd}').len();
            if let Some(news) = text.get(shown..whole) {
                let _ = write!(out, "{news}").and_then(|()| out.flush());
                shown = whole;
            }
        };
        let Pieces(mut pieces) = self.pieces;
        if let Some(path) = &self.prompt_file {
            pieces = read_prompt(path)?;
        }
        let pictures = pieces.iter().map(|piece| match piece {
            Piece::Picture(path) => Some(path),
            Piece::Sent(_) | Piece::Video(_) | Piece::Frames(_) | Piece::Text(_) => None,
        });
        let pictures: Option<Vec<&PathBuf>> = pictures.collect();
        let text = match pictures {
            Some(pictures) if self.prompt_file.is_none() => {
                answer(&trained, &pictures, &self.prompt, &options, on_text)
            }
            _ => answer_pieces(&trained, &pieces, &options, on_text),
        }?;
        writeln!(
            std::io::stdout(),
            "{}",
            text.get(shown..).unwrap_or_default()
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        generate: Generate,
    }

    #[test]
    fn pictures_and_words_keep_the_order_of_the_command_line() {
        let line = "m3w --checkpoint dir --image a --text one --video b --text=two --image c";
        let line = Line::try_parse_from(line.split(' ')).unwrap();
        let Pieces(pieces) = line.generate.pieces;
        let expected = [
            Piece::Picture("a".into()),
            Piece::Text("one".to_owned()),
            Piece::Video(VideoPart::from_start("b".into())),
            Piece::Text("two".to_owned()),
            Piece::Picture("c".into()),
        ];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn a_prompt_beside_pieces_of_text_is_refused() {
        for line in [
            "m3w --checkpoint dir --text one --prompt two",
            "m3w --checkpoint dir --image a --prompt-file two",
        ] {
            assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
