//! Pictures show what there is.

use std::path::Path;

use serde_json::Value;

use crate::document;
use crate::support::{Scratch, or_skip, output_of, run_rbtrfs, tool};

/// Parses a document, and prints the facts of its boxes by panel: a panel begins anew with the first device.
const PARSE: &str = r#"
import json, sys
from xml.etree import ElementTree
svg = '{http://www.w3.org/2000/svg}'
root = ElementTree.parse(sys.argv[1]).getroot()
assert root.tag == svg + 'svg' and not root.findall('.//' + svg + 'script')
number = lambda text: int(text) if text else None
boxes = []
for group in root.iter(svg + 'g'):
    get = lambda name: group.get('data-' + name)
    rects = group.findall(svg + 'rect')
    boxes.append(dict(devid=int(get('devid')), offset=int(get('offset')), length=int(get('length')), state=get('state'),
                      chunk=number(get('chunk')), used=number(get('used')), title=group.find(svg + 'title').text,
                      x=float(rects[0].get('x')), width=float(rects[0].get('width')), full=float(rects[-1].get('width'))))
json.dump(dict(boxes=boxes, style=root.find(svg + 'style').text), sys.stdout)
"#;

fn parsed(picture: &Path) -> Option<Value> {
    let parsed = tool("python3", ["-c", PARSE, picture.to_str().unwrap()]);
    Some(serde_json::from_str(&or_skip(parsed)?).unwrap())
}

/// The boxes that a layout should have, and their chunks.
fn expected(layout: &Value) -> Vec<(u64, Value, Value)> {
    let chunk = |logical: &Value| {
        let chunks = layout["chunks"].as_array().unwrap();
        chunks.iter().find(|chunk| chunk["logical"] == *logical).cloned().unwrap_or_default()
    };
    let devices = layout["devices"].as_array().unwrap().iter();
    let ranges = |device: &Value| {
        let devid = device["devid"].as_u64().unwrap();
        let ranges = device["ranges"].as_array().unwrap().clone();
        ranges.into_iter().map(move |range| (devid, range))
    };
    devices.flat_map(ranges).map(|(devid, range)| (devid, chunk(&range["chunk"]), range)).collect()
}

/// Each box is where the range is, as long as it, and as full as its chunk; to scale.
#[track_caller]
fn compare(boxes: &[Value], layout: &Value) {
    let expected = expected(layout);
    assert_eq!(boxes.len(), expected.len());
    let scale = boxes[0]["width"].as_f64().unwrap() / boxes[0]["length"].as_f64().unwrap();
    for (drawn, (devid, chunk, range)) in boxes.iter().zip(&expected) {
        assert_eq!(drawn["devid"], *devid);
        for name in ["offset", "length", "state", "chunk"] {
            assert_eq!(drawn[name], range[name], "{drawn} {range}");
        }
        let number = |name: &str| drawn[name].as_f64().unwrap();
        assert!((number("width") - number("length") * scale).abs() < 0.5, "{drawn}");
        assert!((number("x") - boxes[0]["x"].as_f64().unwrap() - number("offset") * scale).abs() < 0.5, "{drawn}");
        let title = drawn["title"].as_str().unwrap();
        if chunk.is_null() {
            assert!(title.starts_with(range["state"].as_str().unwrap()), "{title}");
            continue;
        }
        assert_eq!(drawn["used"], chunk["used"]);
        let share = chunk["used"].as_f64().unwrap() / chunk["length"].as_f64().unwrap();
        assert!((number("full") - number("width") * share).abs() < 0.01, "{drawn}");
        for fact in [&chunk["profile"], &chunk["logical"], &range["offset"], &range["length"]] {
            assert!(title.contains(fact.to_string().trim_matches('"')), "{title}: {fact}");
        }
    }
}

#[test]
fn boxes_are_those_of_the_list_of_chunks() {
    let scratch = Scratch::new();
    // Names that a document cannot hold as they are.
    let images = vec![scratch.path("a<&\">.img"), scratch.path("b\u{1}.img")];
    output_of("mkfs --quiet --byte-count 256M --data raid0 --metadata raid1 --rootdir src", &images);
    let picture = scratch.path("picture.svg");
    let list: Value =
        serde_json::from_str(&output_of(&format!("list-chunks --json --svg {}", picture.display()), &images)).unwrap();
    let Some(parsed) = parsed(&picture) else { return };
    compare(parsed["boxes"].as_array().unwrap(), &list);
    let style = parsed["style"].as_str().unwrap();
    for word in ["prefers-color-scheme:dark", ".data-raid0{", ".metadata-raid1{", ".free{", ".reserved{"] {
        assert!(style.contains(word), "{style}");
    }
    let before = std::fs::read(&picture).unwrap();
    let run = run_rbtrfs(&format!("list-chunks --svg {}", picture.display()), &images);
    assert!(run.code == 2 && run.says(&["picture.svg: File exists"]), "{run:?}");
    assert_eq!(std::fs::read(&picture).unwrap(), before);
}

#[test]
fn a_plan_is_drawn_before_and_after() {
    let scratch = Scratch::new();
    let images = vec![scratch.path("a.img"), scratch.path("b.img")];
    output_of("mkfs --quiet --byte-count 512M --data single --metadata raid1 --rootdir src", &images);
    output_of("chunk-alloc --type data --size 32M --count 3", &images);
    let picture = scratch.path("picture.svg");
    let list = document("list-chunks", &images);
    let plan = document(&format!("balance --dry-run -dconvert=raid1 --svg {}", picture.display()), &images);
    let Some(parsed) = parsed(&picture) else { return };
    let boxes = parsed["boxes"].as_array().unwrap();
    let (before, after) = boxes.split_at(expected(&list).len());
    compare(before, &list);
    compare(after, &plan["layout"]);
    let is_data = |chunk: &&Value| chunk["type"][0] == "DATA";
    let mut data = plan["layout"]["chunks"].as_array().unwrap().iter().filter(is_data).peekable();
    assert!(data.peek().is_some() && data.all(|chunk| chunk["profile"] == "RAID1"), "{plan}");
}
