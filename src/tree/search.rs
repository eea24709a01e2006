//! Finding one item by its key.

use crate::block::Kind;
use crate::disk::Key;
use crate::volume::{NoGoodCopy, Volume};

use super::TreeRoot;
use crate::block::verify::Expected;

impl TreeRoot {
    /// The data of the item with this key, if the tree has one.
    pub fn find(&self, volume: &Volume, key: Key) -> Result<Option<Vec<u8>>, NoGoodCopy> {
        let mut expected = self.expected();
        let mut buffer = Vec::new();
        loop {
            let read = volume.read_block(&expected, &mut buffer)?;
            match read.block.kind() {
                Kind::Node(node) => {
                    let ptrs = node.ptrs();
                    let after = ptrs.partition_point(|ptr| Key::from(&ptr.key) <= key);
                    let Some(ptr) = after.checked_sub(1).and_then(|index| ptrs.get(index)) else { return Ok(None) };
                    expected = Expected::child(ptr, node.block().level());
                }
                Kind::Leaf(leaf) => {
                    let slot = leaf.headers().partition_point(|item| Key::from(&item.key) < key);
                    let item = leaf.item(slot).filter(|item| item.key == key);
                    return Ok(item.map(|item| item.data.to_vec()));
                }
            }
        }
    }
}
