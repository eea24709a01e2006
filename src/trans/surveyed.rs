//! The first changes of a transaction that a survey vouches for: what is written of free space may be wrong, and is made anew.

use std::collections::BTreeMap;

use zerocopy::IntoBytes;

use crate::disk::volume::BlockGroupItem;
use crate::disk::{Key, KeyType, Logical};
use crate::error::Result;
use crate::tree::edit::Editor;
use crate::volume::chunk_items::block_group_item;

use super::filesystem::Filesystem;
use super::staged::ByCommit;

impl Filesystem {
    /// Makes block group items say what the survey found in use, one for each chunk, and empties the free space tree, which
    /// the commit fills again.
    pub(super) fn mend_block_groups(&self) -> Result<()> {
        let wanted: BTreeMap<Key, BlockGroupItem> = {
            let space = self.space();
            space.groups().map(|group| block_group_item(group.logical, group.length, group.flags, group.used)).collect()
        };
        let mut items = ByCommit::new(self.block_group_items());
        let mut present = BTreeMap::new();
        items.root.range(self.volume(), Key::MIN, Key::MAX, |item| {
            if item.key.key_type == KeyType::BLOCK_GROUP_ITEM {
                present.insert(item.key, item.data.to_vec());
            }
        })?;
        items.edit(self, |editor| {
            for (key, item) in &wanted {
                match present.get(key) {
                    Some(data) if data == item.as_bytes() => {}
                    Some(_) => editor.replace(*key, item.as_bytes())?,
                    None => editor.insert(*key, item.as_bytes())?,
                }
            }
            present.keys().filter(|key| !wanted.contains_key(key)).try_for_each(|key| editor.delete(*key))
        })?;
        drop(items);
        {
            let mut space = self.space();
            wanted.iter().for_each(|(key, item)| space.set_item_used(Logical(key.objectid), item.used.get()));
        }
        let Some(mut tree) = self.free_space_tree().map(ByCommit::new) else { return Ok(()) };
        let (root, mut store) = tree.parts(self);
        Editor::new(root, &mut store).delete_range(Key::MIN..=Key::MAX).map(drop)
    }
}
