//! Images that others made, of which this project has no copy.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The images whose names are wanted, in order; none where there is no corpus. They are sparse files of up to terabytes:
/// never read one through.
pub fn unpacked(wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    const SUFFIX: &str = ".tar.zst";
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let directory = std::env::var_os("RBTRFS_CORPUS").map_or_else(default, PathBuf::from);
    let mut images = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(image) = name.strip_suffix(SUFFIX).filter(|image| wanted(image)) {
            images.push(unpack(&entry.path(), image));
        }
    }
    images.sort();
    images
}

/// Unpacks an archive of one image, unless that was done before.
fn unpack(archive: &Path, image: &str) -> PathBuf {
    // Tests run side by side and want the same images.
    static UNPACKING: Mutex<()> = Mutex::new(());
    let _guard = UNPACKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("corpus");
    let path = directory.join(image);
    if !path.exists() {
        // A name of its own until it is whole: an earlier run may have been ended while unpacking.
        let partial = directory.join("partial");
        let _ = std::fs::remove_dir_all(&partial);
        std::fs::create_dir_all(&partial).expect("a directory for the corpus is made");
        let tar = Command::new("tar").arg("-xSf").arg(archive).arg("-C").arg(&partial).status();
        assert!(tar.is_ok_and(|status| status.success()), "{}", archive.display());
        let mut files = std::fs::read_dir(&partial).expect("the archive was unpacked").flatten();
        let file = files.next().unwrap_or_else(|| panic!("{} is empty", archive.display()));
        std::fs::rename(file.path(), &path).expect("the image is moved");
    }
    path
}
