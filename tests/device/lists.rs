//! What is said of devices, beside what btrfs-progs says.

use rbtrfs::disk::volume::dev_replace_state;
use rbtrfs::disk::{Key, KeyType};

use super::support::change::{make_filesystem, open_for_change};
use super::support::mounted::Mounted;
use super::support::{Scratch, copy_of_kernel_image_or_skip, or_skip, output_of, run_rbtrfs, tool};
use super::{MIB, document, without};

#[test]
fn devices_are_listed_as_the_kernel_sees_them() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-d", "raid0", "-m", "raid1"], 3, 300 * MIB, &scratch) else { return };
    let list = document("device list", &images);
    let text = output_of("device list", &images);
    let Some(mounted) = or_skip(Mounted::new(&images, "ro", &scratch)) else { return };
    let shown = tool("btrfs", ["filesystem", "show", "--raw", mounted.path().to_str().unwrap()]).unwrap();
    let lines: Vec<&str> = shown.lines().filter_map(|line| line.trim().strip_prefix("devid")).collect();
    let devices = list["devices"].as_array().unwrap();
    assert_eq!((list["schema"].as_str(), devices.len(), lines.len()), (Some("rbtrfs.device-list/1"), 3, 3));
    for (device, line) in devices.iter().zip(lines) {
        let numbers: Vec<u64> = line.split_whitespace().flat_map(str::parse).collect();
        let listed = ["devid", "total_bytes", "used"].map(|name| device[name].as_u64().unwrap());
        assert_eq!(listed, numbers[..3], "{line}");
        let of_profiles =
            device["profiles"].as_array().unwrap().iter().map(|profile| profile["bytes"].as_u64().unwrap());
        assert_eq!(of_profiles.sum::<u64>(), numbers[2], "{device}");
        assert_eq!((&device["missing"], &device["seed"]), (&false.into(), &false.into()));
        assert!(text.contains(device["uuid"].as_str().unwrap()) && text.contains(device["path"].as_str().unwrap()));
    }
    drop(mounted);
    let run = run_rbtrfs("device list --json", &without(&images, 1));
    let list: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (run.code, &list["devices"][1]["missing"], &list["devices"][1]["path"]),
        (0, &true.into(), &serde_json::Value::Null)
    );
}

/// As the kernel counted them when a copy was bad; afterwards there are none.
#[test]
fn counted_errors_are_shown_and_forgotten() {
    let scratch = Scratch::in_memory();
    let Some(images) = make_filesystem(&["-d", "raid1", "-m", "raid1"], 2, 300 * MIB, &scratch) else { return };
    let Some(mounted) = or_skip(Mounted::new(&images, "rw", &scratch)) else { return };
    std::fs::write(mounted.path().join("file"), vec![7; 4 << 20]).unwrap();
    drop(mounted);
    let volume = super::support::open(&images);
    let (logical, _) = *super::support::contents::data_extents(&volume).iter().next().unwrap();
    let (index, place) = super::support::contents::place(&volume, rbtrfs::disk::Logical(logical), 1);
    drop(volume);
    super::support::change(&images[index], place, 8192, |bytes| bytes.fill(0x77));
    let Some(mounted) = or_skip(Mounted::new(&images, "rw", &scratch)) else { return };
    mounted.scrub_and_mend();
    drop(mounted);
    let counted = |command: &str| {
        let stats = document(command, &images);
        stats["devices"][index]["errors"]["corruption"].as_u64().unwrap()
    };
    assert_eq!(counted("device stats"), 2);
    assert_eq!(counted("device stats --reset --dry-run"), 2);
    assert_eq!(counted("device stats --reset"), 2);
    assert_eq!(counted("device stats"), 0);
    let text = output_of("device stats", &images);
    assert_eq!(text.lines().count(), 10, "{text}");
    assert!(text.lines().all(|line| line.starts_with('[') && line.ends_with(" 0")), "{text}");
    super::support::soundness::assert_sound(&images, "stats reset");
}

/// One that is finished is no longer of interest.
#[test]
fn a_replacement_under_way_is_shown_and_given_up() {
    let scratch = Scratch::in_memory();
    let Some(images) = copy_of_kernel_image_or_skip("dev-replace", &scratch) else { return };
    assert!(!output_of("device list", &images).contains("is being replaced"));
    let fs = open_for_change(&images);
    let key = Key::new(0, KeyType::DEV_REPLACE, 0);
    let handle = fs.begin(1).unwrap();
    // Source and state.
    let set_state = |data: &mut [u8]| {
        data[..8].copy_from_slice(&1_u64.to_le_bytes());
        data[32..40].copy_from_slice(&dev_replace_state::SUSPENDED.to_le_bytes());
    };
    fs.device_tree().edit(&fs, |editor| editor.data_mut(key).map(set_state)).unwrap();
    handle.end();
    let mut fs = fs;
    fs.commit().unwrap();
    drop(fs);
    assert!(output_of("device list", &images).ends_with("device 1 is being replaced\n"));
    for words in ["resize --devid 2 max", "device remove --devid 1"] {
        let run = run_rbtrfs(words, &images);
        assert!(run.code == 2 && run.says(&["is being replaced", "--cancel-replace"]), "{words}: {}", run.stderr);
    }
    let run = run_rbtrfs("resize --devid 2 --cancel-replace max", &images);
    assert!(run.code == 0 && run.says(&["device 1 was given up"]), "{}", run.stderr);
    assert_eq!(document("device list", &images)["replacing"], serde_json::Value::Null);
    super::support::soundness::assert_sound_with_data(&images, "given up");
    or_skip(super::btrfs_check(&images));
}
