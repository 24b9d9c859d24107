//! Prompts with examples (appendix B.1.5 of the Flamingo paper).

use anyhow::Result;

use crate::prompt::PromptTokens;
use crate::trained::TrainedModel;

use super::example::{Example, Question};

/// How a prompt is written.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// As in the paper: `Output: a cat.`, `Question: what? Answer: a cat`
    #[default]
    Paper,
    /// As OpenFlamingo was evaluated: `Output:a cat.`, `Question:what? Short answer:a cat`
    Openflamingo,
}

impl Style {
    /// An example's text behind its picture, up to the answer.
    #[must_use]
    pub fn question(self, question: &Question) -> String {
        let gap = self.gap();
        let answer = match self {
            Self::Paper => "Answer:",
            Self::Openflamingo => "Short answer:",
        };
        match question {
            Question::Describe => "Output:".to_owned(),
            Question::Words(question) => format!("Question:{gap}{question} {answer}"),
            Question::Dialogue {
                caption,
                turns,
                question,
            } => {
                let mut text = format!("{caption}. ");
                for (asked, answered) in turns {
                    text.push_str(&format!("Question:{gap}{asked}? {answer}{gap}{answered}. "));
                }
                format!("{text}Question:{gap}{question}? {answer}")
            }
            Question::Hateful(words) => match self {
                Self::Paper => {
                    format!("is an image with written: \"{words}\" on it. Is it hateful? Answer:")
                }
                Self::Openflamingo => {
                    format!("is an image with: '{words}' written on it. Is it hateful? Answer:")
                }
            },
        }
    }

    /// An answer as it stands behind its question.
    #[must_use]
    pub fn answer(self, answer: &str) -> String {
        format!("{}{}", self.gap(), answer.trim())
    }

    fn gap(self) -> &'static str {
        match self {
            Self::Paper => " ",
            Self::Openflamingo => "",
        }
    }

    /// What stands between examples besides `<EOC>`.
    fn between(self, question: &Question) -> &'static str {
        match (self, question) {
            (Self::Openflamingo, Question::Describe | Question::Words(_)) => "\n",
            _ => "",
        }
    }

    /// An answer without what the model wrote behind it: the next example, a line, quotes.
    #[must_use]
    pub fn settle(self, question: &Question, written: &str) -> String {
        let ends: &[&str] = match question {
            Question::Describe => &["Output", "\n"],
            _ => &["Question", "Answer", "Short", "\n"],
        };
        let starts = ends.iter().filter_map(|end| written.trim_start().find(end));
        let end = starts.min().unwrap_or(written.trim_start().len());
        let mut text = &written.trim_start()[..end];
        if !matches!(question, Question::Describe) {
            text = text.split(", ").next().unwrap_or(text);
        }
        let text = text.replace('"', "");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// A prompt's tokens. Each example's picture stands before its text and an `<EOC>` behind it; with
/// `is_blind` the supports have no pictures, which the paper does where it counts no shots.
///
/// # Errors
///
/// If the tokenizer fails.
pub fn prompt_tokens(
    trained: &TrainedModel,
    style: Style,
    supports: &[&Example],
    query: &Example,
    is_blind: bool,
) -> Result<Vec<u32>> {
    let mut tokens = PromptTokens::begin(trained);
    if trained.begins_as_rows() {
        tokens.end_chunk()?;
    }
    for support in supports {
        if !is_blind {
            tokens.image()?;
        }
        let text = style.question(&support.question) + &style.answer(&support.answer);
        tokens.text(&text)?;
        tokens.end_chunk()?;
        tokens.text(style.between(&support.question))?;
    }
    tokens.image()?;
    tokens.text(&style.question(&query.question))?;
    tokens.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_written_as_in_the_paper_and_as_openflamingo_has_them() {
        let words = Question::Words("what is it?".to_owned());
        let meme = Question::Hateful("hello".to_owned());
        let paper = Style::Paper;
        assert_eq!(
            paper.question(&words) + &paper.answer("a cat "),
            "Question: what is it? Answer: a cat"
        );
        assert_eq!(
            paper.question(&Question::Describe) + &paper.answer("x"),
            "Output: x"
        );
        assert_eq!(
            paper.question(&meme),
            "is an image with written: \"hello\" on it. Is it hateful? Answer:"
        );
        let other = Style::Openflamingo;
        assert_eq!(
            other.question(&words) + &other.answer("a cat"),
            "Question:what is it? Short answer:a cat"
        );
        assert_eq!(
            other.question(&meme),
            "is an image with: 'hello' written on it. Is it hateful? Answer:"
        );
        let dialogue = Question::Dialogue {
            caption: "a dog".to_owned(),
            turns: vec![("is it big".to_owned(), "yes".to_owned())],
            question: "what colour".to_owned(),
        };
        assert_eq!(
            paper.question(&dialogue),
            "a dog. Question: is it big? Answer: yes. Question: what colour? Answer:"
        );
    }

    #[test]
    fn an_answer_ends_where_the_next_example_would_begin() {
        let words = Question::Words(String::new());
        let settle = |question, text| Style::Paper.settle(question, text);
        assert_eq!(settle(&words, " red, white Question: what"), "red");
        assert_eq!(settle(&words, "\n two  dogs\nmore"), "two dogs");
        assert_eq!(
            settle(&Question::Describe, " a \"big\" dog, red. Output: x"),
            "a big dog, red."
        );
    }
}
