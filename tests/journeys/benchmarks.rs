//! The official files of each benchmark, a few entries each, made by hand.

use std::fs;
use std::path::Path;

use m3w::evaluate::benchmark::{BENCHMARKS, benchmark};
use m3w::evaluate::example::{Example, Examples, Question, Truth};
use m3w::prompt::Piece;

/// The files of a benchmark.
fn files(name: &str) -> &'static [(&'static str, &'static str)] {
    const CAPTIONS: &str = r#"{"images": [{"id": 7, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 7, "id": 1, "caption": "A dog."},
        {"image_id": 7, "id": 2, "caption": "One dog"}]}"#;
    const QUESTIONS: &str =
        r#"{"questions": [{"question_id": 70, "image_id": 7, "question": "What is it?"}]}"#;
    const ANSWERS: &str = r#"{"annotations": [{"question_id": 70, "answers": [
        {"answer": "cat", "answer_id": 1}, {"answer": "dog", "answer_id": 2},
        {"answer": "dog", "answer_id": 3}]}]}"#;
    const VATEX: &str =
        r#"[{"videoID": "x_000001_000011", "enCap": ["a man", "he"], "chCap": []}]"#;
    const TEXTVQA: &str = r#"{"data": [{"question_id": 3, "image_id": "ab", "question": "who",
        "answers": ["bob", "bob", "al"]}]}"#;
    const VIZWIZ: &str = r#"[{"image": "v.jpg", "question": "What?", "answers": [
        {"answer": "can", "answer_confidence": "yes"}, {"answer": "can", "answer_confidence": "no"}]}]"#;
    const VIDEO_QA: &str =
        r#"[{"id": 5, "video_id": 9, "question": "what runs", "answer": "dog"}]"#;
    const IVQA: &str = "video_id,start,end,question,answer1,answer2,answer3,answer4,answer5\n\
        v,1,5,what is it?,pan,pan,pot,lid,pan\n";
    const NEXTQA: &str = "video,frame_count,width,height,question,answer,qid,type\n\
        42,10,1,1,why did he run,to win,6,CW\n";
    const STAR: &str = r#"[{"question_id": "Q1", "question": "What?", "video_id": "V", "start": 1.5,
        "end": 4, "answer": "B.", "choices": [{"choice_id": 0, "choice": "A."},
        {"choice_id": 1, "choice": "B."}]}]"#;
    const VISDIAL: &str = r#"{"data": {"questions": ["is it big", "is it red"],
        "answers": ["yes", "no"], "dialogs": [{"image_id": 7, "caption": "a dog", "dialog": [
        {"question": 0, "answer": 0, "answer_options": [0, 1], "gt_index": 0},
        {"question": 1, "answer": 1, "answer_options": [1, 0], "gt_index": 0}]}]}}"#;
    const MEMES: &str = "{\"id\": 3, \"img\": \"img/3.png\", \"label\": 1, \"text\": \"hello\"}\n";
    const RAREACT: &str = "id,video_id,start,end,class_id,verb,noun,annotation\n\
        0,v,1,3,0,cut,phone,1\n1,w,2,4,1,blend,phone,0\n";
    const KINETICS: &str = "label,youtube_id,time_start,time_end,split\nabseiling,abc,5,15,x\n\
        zumba,xyz,0,10,x\n";
    match name {
        "coco" => &[
            ("annotations/captions_train2014.json", CAPTIONS),
            ("annotations/captions_val2014.json", CAPTIONS),
        ],
        "vatex" => &[
            ("vatex_training_v1.0.json", VATEX),
            ("vatex_validation_v1.0.json", VATEX),
        ],
        "flickr30k" => &[(
            "dataset_flickr30k.json",
            r#"{"images": [{"filename": "a.jpg", "split": "train", "imgid": 1, "sentences": [{"raw": "x"}]},
            {"filename": "b.jpg", "split": "test", "imgid": 2, "sentences": [{"raw": "A b."}]},
            {"filename": "c.jpg", "split": "val", "imgid": 3, "sentences": []}]}"#,
        )],
        "youcook2" => &[(
            "youcookii_annotations_trainval.json",
            r#"{"database": {"t": {"subset": "training", "annotations": [
            {"id": 0, "segment": [1, 5], "sentence": "cut"}]}, "v": {"subset": "validation",
            "annotations": [{"id": 2, "segment": [10, 20], "sentence": "fry it"}]}}}"#,
        )],
        "vqav2" => &[
            ("v2_OpenEnded_mscoco_train2014_questions.json", QUESTIONS),
            ("v2_mscoco_train2014_annotations.json", ANSWERS),
            ("v2_OpenEnded_mscoco_val2014_questions.json", QUESTIONS),
            ("v2_mscoco_val2014_annotations.json", ANSWERS),
        ],
        "okvqa" => &[
            ("OpenEnded_mscoco_train2014_questions.json", QUESTIONS),
            ("mscoco_train2014_annotations.json", ANSWERS),
            ("OpenEnded_mscoco_val2014_questions.json", QUESTIONS),
            ("mscoco_val2014_annotations.json", ANSWERS),
        ],
        "textvqa" => &[
            ("TextVQA_0.5.1_train.json", TEXTVQA),
            ("TextVQA_0.5.1_val.json", TEXTVQA),
        ],
        "vizwiz" => &[("train.json", VIZWIZ), ("val.json", VIZWIZ)],
        "msvdqa" => &[
            ("train_qa.json", VIDEO_QA),
            ("test_qa.json", VIDEO_QA),
            ("youtube_mapping.txt", "clip_1_5 vid9\n"),
        ],
        "msrvttqa" => &[("train_qa.json", VIDEO_QA), ("test_qa.json", VIDEO_QA)],
        "ivqa" => &[("train.csv", IVQA), ("test.csv", IVQA)],
        "nextqa" => &[
            ("train.csv", NEXTQA),
            ("test.csv", NEXTQA),
            ("map_vid_vidorID.json", r#"{"42": "1000/42"}"#),
            (
                "add_reference_answer_test.json",
                r#"{"42": {"6": "winning"}}"#,
            ),
        ],
        "star" => &[("STAR_train.json", STAR), ("STAR_val.json", STAR)],
        "visdial" => &[
            ("visdial_1.0_train.json", VISDIAL),
            ("visdial_1.0_val.json", VISDIAL),
            (
                "visdial_1.0_val_dense_annotations.json",
                r#"[{"image_id": 7, "round_id": 2, "gt_relevance": [1, 0.5]}]"#,
            ),
        ],
        "hatefulmemes" => &[("train.jsonl", MEMES), ("dev_seen.jsonl", MEMES)],
        "rareact" => &[("rareact.csv", RAREACT)],
        "imagenet" => &[
            (
                "LOC_synset_mapping.txt",
                "n01 tench, Tinca tinca\nn02 goldfish\n",
            ),
            ("train/n01/a.JPEG", ""),
            ("train/n02/b.JPEG", ""),
            ("val/n01/c.JPEG", ""),
            ("val/n02/d.JPEG", ""),
        ],
        "kinetics700" => &[("train.csv", KINETICS), ("val.csv", KINETICS)],
        other => panic!("{other} has no files here"),
    }
}

fn read(name: &str, folder: &Path) -> Examples {
    for (file, text) in files(name) {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    benchmark(name).unwrap().read(folder).unwrap()
}

/// The last question of a benchmark, and the file of its picture or video below the folder.
fn last(name: &str) -> (Example, String, Examples) {
    let folder = tempfile::tempdir().unwrap();
    let examples = read(name, folder.path());
    let query = examples.queries.last().unwrap().clone();
    let path = match &query.medium {
        Piece::Picture(path) => path.clone(),
        Piece::Video(part) => part.path.clone(),
        other => panic!("{name}: {other:?}"),
    };
    let below = path.strip_prefix(folder.path()).unwrap();
    (query, below.to_str().unwrap().to_owned(), examples)
}

#[test]
fn each_benchmark_is_read_from_its_official_files() {
    for task in &BENCHMARKS {
        let (query, file, examples) = last(task.name);
        let has_supports = !examples.supports.is_empty();
        assert_eq!(has_supports, task.name != "rareact", "{}", task.name);
        assert!(!query.answer.is_empty(), "{}", task.name);
        if task.judged.is_closed() {
            assert!(
                query.choices.len().max(examples.classes.len()) >= 2,
                "{}",
                task.name
            );
        }
        let expected = match task.name {
            "coco" => "val2014/a.jpg",
            "vatex" => "videos/x_000001_000011.mp4",
            "flickr30k" => "flickr30k-images/b.jpg",
            "youcook2" => "videos/v.mp4",
            "vqav2" | "okvqa" => "val2014/COCO_val2014_000000000007.jpg",
            "textvqa" => "train_images/ab.jpg",
            "vizwiz" => "val/v.jpg",
            "msvdqa" => "YouTubeClips/clip_1_5.avi",
            "msrvttqa" => "video/video9.mp4",
            "ivqa" => "videos/v.mp4",
            "nextqa" => "videos/1000/42.mp4",
            "star" => "Charades_v1_480/V.mp4",
            "visdial" => "VisualDialog_val2018/VisualDialog_val2018_000000000007.jpg",
            "hatefulmemes" => "img/3.png",
            "rareact" => "videos/w.mp4",
            "imagenet" => "val/n02/d.JPEG",
            _ => "val/zumba/xyz_000000_000010.mp4",
        };
        assert_eq!(file, expected, "{}", task.name);
    }
}

#[test]
fn answers_and_truths_are_those_of_the_files() {
    let (vqa, _, _) = last("vqav2");
    assert_eq!(vqa.answer, "dog");
    assert!(matches!(&vqa.truth, Truth::People(people) if people.len() == 3));
    let (next, _, _) = last("nextqa");
    assert_eq!(
        next.truth,
        Truth::Texts(vec!["to win".to_owned(), "winning".to_owned()])
    );
    assert_eq!(next.question, Question::Words("why did he run?".to_owned()));
    let (star, _, _) = last("star");
    assert_eq!((star.truth, star.choices.len()), (Truth::Choice(1), 2));
    let (visdial, _, _) = last("visdial");
    assert_eq!(visdial.truth, Truth::Relevance(vec![1.0, 0.5]));
    assert_eq!(visdial.choices, ["no", "yes"]);
    let turns = vec![("is it big".to_owned(), "yes".to_owned())];
    let question = Question::Dialogue {
        caption: "a dog".to_owned(),
        turns,
        question: "is it red".to_owned(),
    };
    assert_eq!(visdial.question, question);
    let (meme, _, memes) = last("hatefulmemes");
    assert_eq!(
        (meme.truth, meme.answer.as_str()),
        (Truth::Label(true), "yes")
    );
    assert_eq!(memes.classes, ["no", "yes"]);
    let (_, _, imagenet) = last("imagenet");
    assert_eq!(imagenet.classes, ["tench", "goldfish"]);
    let (cooked, _, _) = last("youcook2");
    assert!(matches!(cooked.medium, Piece::Video(part) if part.end_s == Some(20.0)));
}

#[test]
fn a_file_of_another_layout_is_named() {
    let folder = tempfile::tempdir().unwrap();
    read("hatefulmemes", folder.path());
    fs::write(folder.path().join("train.jsonl"), "{\"id\": 3}\n").unwrap();
    let task = benchmark("hatefulmemes").unwrap();
    let told = format!("{:#}", task.read(folder.path()).unwrap_err());
    assert!(told.contains("train.jsonl, line 1"), "{told}");
}
