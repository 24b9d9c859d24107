//! The benchmarks: what each is judged by, and what files it needs.

mod captions;
mod choices;
mod files;
mod questions;

use std::path::Path;

use anyhow::{Result, ensure};

use super::example::Examples;

/// How a benchmark's answers are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// Words are free, by CIDEr-D.
    Cider,
    /// Words are free, by the VQA challenge's accuracy, in percent.
    Vqa,
    /// Words are free; the answer must be the one that was given, in percent.
    Exact,
    /// Words are free; two of five people who said the same make it right, in percent.
    TwoOfFive,
    /// Words are free, by WUPS, in percent.
    Wups,
    /// The likeliest of some candidates, in percent.
    Top1,
    /// The likelihood of the second of two classes, by the area under its curve, in percent.
    RocAuc,
    /// The order of candidates by their likelihood, by NDCG, in percent.
    Ndcg,
    /// The likelihood of each class, by RareAct's weighted average precision, in percent.
    Mwap,
}

impl Judged {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cider => "CIDEr",
            Self::Vqa => "VQA accuracy",
            Self::Exact => "accuracy",
            Self::TwoOfFive => "iVQA accuracy",
            Self::Wups => "WUPS",
            Self::Top1 => "top-1",
            Self::RocAuc => "ROC-AUC",
            Self::Ndcg => "NDCG",
            Self::Mwap => "mWAP",
        }
    }

    /// Whether the model chooses among candidates instead of writing.
    #[must_use]
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Top1 | Self::RocAuc | Self::Ndcg | Self::Mwap)
    }
}

/// A benchmark.
pub struct Benchmark {
    /// The name it goes by on the command line.
    pub name: &'static str,
    /// How it is judged.
    pub judged: Judged,
    /// The files it is read from, within its folder.
    pub files: &'static [&'static str],
    /// Where its pictures or videos are, within its folder.
    pub media: &'static str,
    /// Where it is to be had.
    pub source: &'static str,
    /// Most tokens of an answer.
    pub most_tokens: usize,
    read: fn(&Path) -> Result<Examples>,
}

/// All benchmarks: the sixteen of the Flamingo paper's table 1, ImageNet and Kinetics700.
pub static BENCHMARKS: [Benchmark; 18] = [
    Benchmark {
        name: "coco",
        judged: Judged::Cider,
        files: &[
            "annotations/captions_train2014.json",
            "annotations/captions_val2014.json",
        ],
        media: "train2014/, val2014/",
        source: "https://cocodataset.org",
        most_tokens: 20,
        read: captions::coco,
    },
    Benchmark {
        name: "vatex",
        judged: Judged::Cider,
        files: &["vatex_training_v1.0.json", "vatex_validation_v1.0.json"],
        media: "videos/VIDEOID.mp4",
        source: "https://eric-xw.github.io/vatex-website",
        most_tokens: 30,
        read: captions::vatex,
    },
    Benchmark {
        name: "flickr30k",
        judged: Judged::Cider,
        files: &["dataset_flickr30k.json"],
        media: "flickr30k-images/",
        source: "https://shannon.cs.illinois.edu/DenotationGraph, splits by Karpathy",
        most_tokens: 20,
        read: captions::flickr30k,
    },
    Benchmark {
        name: "youcook2",
        judged: Judged::Cider,
        files: &["youcookii_annotations_trainval.json"],
        media: "videos/VIDEOID.mp4",
        source: "http://youcook2.eecs.umich.edu",
        most_tokens: 30,
        read: captions::youcook2,
    },
    Benchmark {
        name: "vqav2",
        judged: Judged::Vqa,
        files: &[
            "v2_OpenEnded_mscoco_train2014_questions.json",
            "v2_mscoco_train2014_annotations.json",
            "v2_OpenEnded_mscoco_val2014_questions.json",
            "v2_mscoco_val2014_annotations.json",
        ],
        media: "train2014/, val2014/",
        source: "https://visualqa.org",
        most_tokens: 5,
        read: questions::vqav2,
    },
    Benchmark {
        name: "okvqa",
        judged: Judged::Vqa,
        files: &[
            "OpenEnded_mscoco_train2014_questions.json",
            "mscoco_train2014_annotations.json",
            "OpenEnded_mscoco_val2014_questions.json",
            "mscoco_val2014_annotations.json",
        ],
        media: "train2014/, val2014/",
        source: "https://okvqa.allenai.org",
        most_tokens: 5,
        read: questions::okvqa,
    },
    Benchmark {
        name: "textvqa",
        judged: Judged::Vqa,
        files: &["TextVQA_0.5.1_train.json", "TextVQA_0.5.1_val.json"],
        media: "train_images/IMAGEID.jpg",
        source: "https://textvqa.org",
        most_tokens: 5,
        read: questions::textvqa,
    },
    Benchmark {
        name: "vizwiz",
        judged: Judged::Vqa,
        files: &["train.json", "val.json"],
        media: "train/, val/",
        source: "https://vizwiz.org",
        most_tokens: 5,
        read: questions::vizwiz,
    },
    Benchmark {
        name: "msvdqa",
        judged: Judged::Exact,
        files: &["train_qa.json", "test_qa.json", "youtube_mapping.txt"],
        media: "YouTubeClips/NAME.avi",
        source: "https://github.com/xudejing/video-question-answering",
        most_tokens: 5,
        read: questions::msvdqa,
    },
    Benchmark {
        name: "msrvttqa",
        judged: Judged::Exact,
        files: &["train_qa.json", "test_qa.json"],
        media: "video/videoNUMBER.mp4",
        source: "https://github.com/xudejing/video-question-answering",
        most_tokens: 5,
        read: questions::msrvttqa,
    },
    Benchmark {
        name: "ivqa",
        judged: Judged::TwoOfFive,
        files: &["train.csv", "test.csv"],
        media: "videos/VIDEOID.mp4",
        source: "https://antoyang.github.io/just-ask.html",
        most_tokens: 5,
        read: questions::ivqa,
    },
    Benchmark {
        name: "nextqa",
        judged: Judged::Wups,
        files: &["train.csv", "test.csv", "map_vid_vidorID.json"],
        media: "videos/VIDORID.mp4",
        source: "https://github.com/doc-doc/NExT-OE",
        most_tokens: 8,
        read: questions::nextqa,
    },
    Benchmark {
        name: "star",
        judged: Judged::Top1,
        files: &["STAR_train.json", "STAR_val.json"],
        media: "Charades_v1_480/VIDEOID.mp4",
        source: "https://bobbywu.com/STAR",
        most_tokens: 0,
        read: choices::star,
    },
    Benchmark {
        name: "visdial",
        judged: Judged::Ndcg,
        files: &[
            "visdial_1.0_train.json",
            "visdial_1.0_val.json",
            "visdial_1.0_val_dense_annotations.json",
        ],
        media: "train2014/, val2014/ (of COCO), VisualDialog_val2018/",
        source: "https://visualdialog.org",
        most_tokens: 0,
        read: choices::visdial,
    },
    Benchmark {
        name: "hatefulmemes",
        judged: Judged::RocAuc,
        files: &["train.jsonl", "dev_seen.jsonl"],
        media: "img/",
        source: "https://ai.meta.com/tools/hatefulmemes",
        most_tokens: 0,
        read: choices::hateful_memes,
    },
    Benchmark {
        name: "rareact",
        judged: Judged::Mwap,
        files: &["rareact.csv"],
        media: "videos/VIDEOID.mp4",
        source: "https://github.com/antoine77340/RareAct",
        most_tokens: 0,
        read: choices::rareact,
    },
    Benchmark {
        name: "imagenet",
        judged: Judged::Top1,
        files: &["LOC_synset_mapping.txt"],
        media: "train/WNID/, val/WNID/",
        source: "https://www.image-net.org (ILSVRC2012), sorted into folders by class",
        most_tokens: 0,
        read: choices::imagenet,
    },
    Benchmark {
        name: "kinetics700",
        judged: Judged::Top1,
        files: &["train.csv", "val.csv"],
        media: "train/LABEL/ID_START_END.mp4, val/LABEL/ID_START_END.mp4",
        source: "https://github.com/cvdfoundation/kinetics-dataset",
        most_tokens: 0,
        read: choices::kinetics,
    },
];

/// The benchmark of a name.
#[must_use]
pub fn benchmark(name: &str) -> Option<&'static Benchmark> {
    BENCHMARKS.iter().find(|benchmark| benchmark.name == name)
}

impl Benchmark {
    /// Reads its official files in `folder`. Pictures and videos are read when they are shown.
    ///
    /// Holds all questions and answers.
    ///
    /// # Errors
    ///
    /// If a file is missing or has another layout; the message names it and the entry.
    pub fn read(&self, folder: &Path) -> Result<Examples> {
        for file in self.files {
            ensure!(
                folder.join(file).exists(),
                "{} is missing: {} needs {} (from {})",
                folder.join(file).display(),
                self.name,
                self.files.join(", "),
                self.source
            );
        }
        let examples = (self.read)(folder)?;
        ensure!(
            !examples.queries.is_empty(),
            "{} has no questions that {} asks",
            folder.display(),
            self.name
        );
        Ok(examples)
    }
}
