//! The corpus as Croissant metadata (<https://docs.mlcommons.org/croissant/docs/croissant-spec.html>).

use m3w_shards::Manifest;
use serde_json::{Value, json};

/// Columns that a reader of Croissant 1.0 can yield: `mlcroissant` takes plain columns, and lists
/// of plain values, but no list of structs.
const DOCUMENT_FIELDS: [(&str, &str, bool); 5] = [
    ("id", "sc:Text", false),
    ("url", "sc:URL", false),
    ("language", "sc:Text", false),
    ("title", "sc:Text", false),
    ("texts", "sc:Text", true),
];
const SEQUENCE_FIELDS: [(&str, &str, bool); 5] = [
    ("id", "sc:Text", false),
    ("source", "sc:Text", false),
    ("tokens", "sc:Integer", true),
    ("token_count", "sc:Integer", false),
    ("text", "sc:Text", false),
];

pub(super) fn croissant(manifest: &Manifest, name: &str, license: Option<&str>) -> Value {
    let mut distribution = Vec::new();
    let mut record_sets = Vec::new();
    for (kind, files, fields) in [
        ("documents", &manifest.documents, DOCUMENT_FIELDS),
        ("sequences", &manifest.sequences, SEQUENCE_FIELDS),
    ] {
        for file in files {
            distribution.push(json!({
                "@type": "cr:FileObject",
                "@id": file.path,
                "name": file.path,
                "contentUrl": file.path,
                "contentSize": format!("{} B", file.bytes),
                "encodingFormat": "application/x-parquet",
                "sha256": file.sha256.to_string(),
            }));
        }
        if files.is_empty() {
            continue;
        }
        // Without `containedIn` it is taken from the folder of the description.
        distribution.push(json!({
            "@type": "cr:FileSet",
            "@id": kind,
            "name": kind,
            "encodingFormat": "application/x-parquet",
            "includes": format!("{kind}/*.parquet"),
        }));
        let fields = fields.map(|(field, data_type, is_list)| {
            let mut described = json!({
                "@type": "cr:Field",
                "@id": format!("{kind}-records/{field}"),
                "name": field,
                "dataType": data_type,
                "source": {"fileSet": {"@id": kind}, "extract": {"column": field}},
            });
            if is_list {
                described["repeated"] = json!(true);
            }
            described
        });
        record_sets.push(json!({
            "@type": "cr:RecordSet",
            "@id": format!("{kind}-records"),
            "name": format!("{kind}-records"),
            "key": {"@id": format!("{kind}-records/id")},
            "field": fields,
        }));
    }
    json!({
        "@context": context(),
        "@type": "sc:Dataset",
        "name": name,
        "description": "Pages of the web with their images at their places in the text.",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": license.unwrap_or("unknown"),
        "version": "1.0.0",
        "distribution": distribution,
        "recordSet": record_sets,
    })
}

/// The context that version 1.0 of the format prescribes.
fn context() -> Value {
    json!({
        "@language": "en",
        "@vocab": "https://schema.org/",
        "citeAs": "cr:citeAs",
        "column": "cr:column",
        "conformsTo": "dct:conformsTo",
        "cr": "http://mlcommons.org/croissant/",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "dct": "http://purl.org/dc/terms/",
        "equivalentProperty": "cr:equivalentProperty",
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "extract": "cr:extract",
        "field": "cr:field",
        "fileProperty": "cr:fileProperty",
        "fileObject": "cr:fileObject",
        "fileSet": "cr:fileSet",
        "format": "cr:format",
        "includes": "cr:includes",
        "isLiveDataset": "cr:isLiveDataset",
        "jsonPath": "cr:jsonPath",
        "key": "cr:key",
        "md5": "cr:md5",
        "parentField": "cr:parentField",
        "path": "cr:path",
        "recordSet": "cr:recordSet",
        "references": "cr:references",
        "regex": "cr:regex",
        "repeated": "cr:repeated",
        "replace": "cr:replace",
        "samplingRate": "cr:samplingRate",
        "sc": "https://schema.org/",
        "separator": "cr:separator",
        "source": "cr:source",
        "subField": "cr:subField",
        "transform": "cr:transform"
    })
}
