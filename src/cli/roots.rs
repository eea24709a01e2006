//! Where a filesystem is begun to be read.

use crate::disk::Logical;
use crate::volume::RootChoice;

// Where to begin. A documentation comment would be taken for that of the command.
#[derive(Debug, Default, clap::Args)]
pub struct Roots {
    /// Begin with this copy of the superblock: 0, 1 or 2
    #[arg(short = 's', long = "super", value_name = "N", value_parser = clap::value_parser!(u8).range(0..=2))]
    mirror: Option<u8>,

    /// Begin with the newest backup roots before those of the superblock
    #[arg(short, long)]
    backup: bool,

    /// Begin with the root tree at this address
    #[arg(short = 'r', long, value_name = "LOGICAL", conflicts_with = "backup")]
    tree_root: Option<u64>,

    /// Begin with the chunk tree at this address
    #[arg(long, value_name = "LOGICAL")]
    chunk_root: Option<u64>,
}

impl Roots {
    /// The options that say the same.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        words.extend(self.mirror.map(|mirror| format!("-s {mirror}")));
        words.extend(self.backup.then(|| "-b".to_owned()));
        words.extend(self.tree_root.map(|logical| format!("-r {logical}")));
        words.extend(self.chunk_root.map(|logical| format!("--chunk-root {logical}")));
        words
    }

    pub fn choice(&self) -> RootChoice {
        RootChoice {
            mirror: self.mirror.map(usize::from),
            backup: self.backup,
            tree_root: self.tree_root.map(Logical),
            chunk_root: self.chunk_root.map(Logical),
        }
    }
}
