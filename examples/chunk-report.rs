//! Prints how much of each type of chunk there is, and how much of it is in use.

use std::collections::BTreeMap;
use std::path::Path;

use rbtrfs::disk::flags::block_group;
use rbtrfs::dump::chunks::ChunkList;
use rbtrfs::image::Image;
use rbtrfs::volume::Volume;

fn main() -> Result<(), rbtrfs::Error> {
    let images = std::env::args_os().skip(1).map(|path| Image::open(Path::new(&path)));
    let volume = Volume::open(images.collect::<Result<_, _>>()?)?;
    let mut types: BTreeMap<(u64, &str), (usize, u64, u64)> = BTreeMap::new();
    for chunk in &ChunkList::new(&volume).chunks {
        let (count, length, used) = types.entry((chunk.r#type.0, chunk.profile)).or_default();
        *count += 1;
        *length += chunk.length;
        *used += chunk.used.unwrap_or_default();
    }
    for ((r#type, profile), (count, length, used)) in types {
        let names = [(block_group::DATA, "data"), (block_group::METADATA, "metadata"), (block_group::SYSTEM, "system")];
        let names = names.iter().filter(|(bit, _)| r#type & bit != 0).map(|(_, name)| *name);
        let r#type = names.collect::<Vec<_>>().join(" and ");
        println!("{type}, {profile}: {count} chunks, {used} of {length} bytes");
    }
    Ok(())
}
