//! After a conversion all that there is has the profile, as the kernel says it.

use std::path::PathBuf;

use crate::support::change::make_filesystem;
use crate::support::mounted::{Mounted, btrfs_check};
use crate::support::soundness::assert_sound_with_data;
use crate::support::{Scratch, or_skip, output_of, tool};

/// Types and profiles that `btrfs filesystem df` lists, but for the global reserve.
fn listed(mounted: &Mounted) -> Vec<String> {
    let text = tool("btrfs", ["filesystem", "df", mounted.path().to_str().unwrap()]).unwrap();
    let names =
        text.lines().filter_map(|line| line.split(':').next()).filter(|name| !name.starts_with("GlobalReserve"));
    names.map(str::to_owned).collect()
}

fn convert(images: &[PathBuf], data: &str, metadata: &str) {
    let options = format!("--force -dconvert={data} -mconvert={metadata}");
    output_of(&format!("balance {options}"), images);
    assert_sound_with_data(images, &options);
}

#[test]
fn the_kernel_lists_the_profiles_that_were_converted_to() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-d", "single", "-m", "dup"], 4, 512 << 20, &scratch) else { return };
    let Some(mounted) = or_skip(Mounted::new(&images, "rw", &scratch)) else { return };
    mounted.write_something();
    let contents = mounted.contents();
    drop(mounted);
    for (data, metadata) in [
        ("DUP", "RAID1C3"),
        ("RAID5", "RAID1"),
        ("RAID0", "RAID1C4"),
        ("RAID6", "RAID10"),
        ("RAID10", "RAID6"),
        ("RAID1C4", "RAID5"),
        ("RAID1", "RAID0"),
        ("RAID1C3", "DUP"),
        ("single", "single"),
    ] {
        convert(&images, data, metadata);
        let mounted = Mounted::new(&images, "ro", &scratch).unwrap();
        let expected =
            [format!("Data, {data}"), format!("System, {metadata}"), format!("Metadata, {metadata}")].map(String::from);
        assert_eq!(listed(&mounted), expected);
        assert_eq!(mounted.contents(), contents, "{data} {metadata}");
    }
    or_skip(btrfs_check(&images));
    let mounted = Mounted::new(&images, "rw", &scratch).unwrap();
    std::fs::remove_dir_all(mounted.path().join("of-the-test/snapshot/of-the-test")).unwrap();
    assert_ne!(mounted.contents(), contents);
}

#[test]
fn a_chunk_in_use_is_emptied_and_removed() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-d", "raid1", "-m", "raid1"], 2, 512 << 20, &scratch) else { return };
    let Some(mounted) = or_skip(Mounted::new(&images, "rw", &scratch)) else { return };
    mounted.write_something();
    let contents = mounted.contents();
    drop(mounted);
    let list = crate::document("list-chunks", &images);
    let used = list["chunks"].as_array().unwrap().iter().filter(|chunk| chunk["used"] != 0);
    let options: String = used.map(|chunk| format!(" --chunk {}", chunk["logical"])).collect();
    let text = output_of(&format!("chunk-remove --relocate{options}"), &images);
    assert_eq!(text.matches("removed chunk ").count(), options.matches("--chunk").count(), "{text}");
    assert_sound_with_data(&images, "chunks removed");
    let left = crate::document("list-chunks", &images);
    for chunk in left["chunks"].as_array().unwrap() {
        let logical = chunk["logical"].to_string();
        assert!(!options.split(' ').any(|word| word == logical), "{options}: {chunk}");
    }
    assert_eq!(Mounted::new(&images, "ro", &scratch).unwrap().contents(), contents);
}
