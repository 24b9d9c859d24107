//! An example of a benchmark: what is shown, what is asked, and what is right.

use crate::prompt::Piece;

use super::ranking::Segment;
use super::vqa::PersonsAnswer;

/// An example.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Its number or name in the official files.
    pub id: String,
    /// The picture or video.
    pub medium: Piece,
    /// What is asked of it.
    pub question: Question,
    /// The answer that it gives as a support.
    pub answer: String,
    /// Among what to choose; empty where the task has classes, or words are free.
    pub choices: Vec<String>,
    /// What is right.
    pub truth: Truth,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// What is to be seen.
    Describe,
    /// A question in words.
    Words(String),
    /// The next question of a dialogue about a picture with a caption.
    Dialogue {
        /// The caption.
        caption: String,
        /// Questions and answers so far.
        turns: Vec<(String, String)>,
        /// The next question.
        question: String,
    },
    /// Whether a meme with these words is hateful.
    Hateful(String),
}

/// What is right.
#[derive(Debug, Clone, PartialEq)]
pub enum Truth {
    /// Texts, each of which is.
    Texts(Vec<String>),
    /// What people answered.
    People(Vec<PersonsAnswer<'static>>),
    /// The choice or class of this number.
    Choice(usize),
    /// Whether the second of two classes is.
    Label(bool),
    /// How right each choice is.
    Relevance(Vec<f64>),
    /// A segment of RareAct.
    Segment(Segment),
}

/// A benchmark's examples.
#[derive(Debug, Clone, Default)]
pub struct Examples {
    /// Those that prompts are made of.
    pub supports: Vec<Example>,
    /// Those that are asked.
    pub queries: Vec<Example>,
    /// Classes to choose among, for all queries alike.
    pub classes: Vec<String>,
}
