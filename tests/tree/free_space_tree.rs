//! The items of the free space tree, against a list of free sectors and against the kernel's own items.

use crate::support::contents::{for_each_item, trees};
use crate::support::random::Random;
use crate::support::store::{Store, TREE};
use crate::support::{kernel_image_names, kernel_image_or_skip, open};
use rbtrfs::disk::{Key, KeyType, Logical, objectid};
use rbtrfs::space::FreeExtents;
use rbtrfs::space::free_space_items::{Group, Items};
use rbtrfs::trans::free_space_tree::{remove, update};
use rbtrfs::tree::TreeRoot;
use rbtrfs::tree::edit::{Editor, NewItem, create};

const SECTOR: u64 = 4096;
const INFO: KeyType = KeyType(198);
const EXTENT: KeyType = KeyType(199);
const BITMAP: KeyType = KeyType(200);

/// What the items of a group say: whether each sector is free, and whether bitmaps say so. Panics on items that are not in
/// the one form that there is for that.
fn read(items: &Items, group: &Group, sector: u64) -> (Vec<bool>, bool) {
    let sectors = (group.length / sector) as usize;
    let end = group.logical.0 + group.length;
    let mut inside = items.iter().filter(|(key, _)| (group.logical.0..end).contains(&key.objectid));
    let (key, info) = inside.next().unwrap();
    assert_eq!(*key, Key::new(group.logical.0, INFO, group.length));
    let [count, flags] = [0, 4].map(|at| u32::from_le_bytes(*info[at..].first_chunk().unwrap()));
    assert!(info.len() == 8 && flags <= 1);
    let mut free = vec![false; sectors];
    let mut next_bitmap = group.logical.0;
    let mut extents = 0;
    for (key, data) in inside {
        let first = ((key.objectid - group.logical.0) / sector) as usize;
        if flags == 0 {
            assert_eq!((key.key_type, data.len()), (EXTENT, 0));
            free[first..first + (key.offset / sector) as usize].fill(true);
            extents += 1;
        } else {
            let length = (2048 * sector).min(end - next_bitmap);
            assert_eq!(*key, Key::new(next_bitmap, BITMAP, length));
            let bits = (length / sector) as usize;
            assert_eq!(data.len(), bits.div_ceil(8));
            for bit in 0..data.len() * 8 {
                let is_free = data[bit / 8] >> (bit % 8) & 1 == 1;
                assert!(bit < bits || !is_free, "{key} has a bit beyond its end");
                if is_free {
                    free[first + bit] = true;
                }
            }
            next_bitmap += length;
        }
    }
    assert!(flags == 0 || next_bitmap == end, "bitmaps end at {next_bitmap}");
    assert!(flags == 1 || extents == count, "{extents} items for {count} extents");
    assert_eq!(runs(&free).len() as u32, count);
    (free, flags == 1)
}

/// First sector and number of sectors of each range of free ones.
fn runs(free: &[bool]) -> Vec<(usize, usize)> {
    let mut first = 0;
    let mut runs = Vec::new();
    for run in free.chunk_by(|a, b| a == b) {
        if run[0] {
            runs.push((first, run.len()));
        }
        first += run.len();
    }
    runs
}

fn extents(group: &Group, free: &[bool], sector: u64) -> FreeExtents {
    let mut extents = FreeExtents::default();
    for (first, count) in runs(free) {
        extents.add(Logical(group.logical.0 + first as u64 * sector), count as u64 * sector);
    }
    extents
}

struct Tree {
    store: Store,
    root: TreeRoot,
}

impl Tree {
    fn new() -> Self {
        let mut store = Store::new(4096);
        let root = create(&mut store, Key::new(TREE, KeyType::ROOT_ITEM, 0)).unwrap();
        Self { store, root }
    }

    fn items(&self) -> Items {
        self.store.items(self.root.logical)
    }

    fn update(&mut self, group: &Group, free: &FreeExtents) -> rbtrfs::Result<()> {
        update(&mut self.root, &mut self.store, group, free, SECTOR as u32)
    }

    fn editor(&mut self) -> Editor<'_, Store> {
        Editor::new(&mut self.root, &mut self.store)
    }

    /// Does something in a transaction of its own, in which no block may become editable.
    #[track_caller]
    fn untouched<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        self.store.generation.0 += 1;
        let (root, copied, blocks) = (self.root, self.store.copied, self.store.addresses());
        let result = act(self);
        assert_eq!((self.root, self.store.copied, self.store.addresses()), (root, copied, blocks));
        result
    }
}

/// Groups side by side, of so many sectors.
fn groups(sectors: &[u64]) -> Vec<Group> {
    let mut next = 1 << 30;
    let group = |sectors: &u64| {
        let group = Group { logical: Logical(next), length: sectors * SECTOR };
        next += group.length;
        group
    };
    sectors.iter().map(group).collect()
}

/// Every other sector.
fn fragments(group: &Group) -> Vec<bool> {
    (0..group.length / SECTOR).map(|sector| sector % 2 == 0).collect()
}

struct Modelled {
    group: Group,
    free: Vec<bool>,
    uses_bitmaps: bool,
    is_fragmenting: bool,
    /// How often its form became extents, and bitmaps.
    conversions: [usize; 2],
}

impl Modelled {
    fn change(&mut self, random: &mut Random) {
        let sectors = self.free.len();
        self.is_fragmenting ^= random.below(40) == 0;
        if random.below(300) == 0 {
            self.free.fill(random.below(2) == 0);
        } else if self.is_fragmenting {
            for _ in 0..random.below(30) {
                self.free[random.below(sectors)] ^= true;
            }
        } else {
            let first = random.below(sectors);
            let count = random.below(sectors / 4 + 1);
            self.free[first..(first + count).min(sectors)].fill(random.below(2) == 0);
        }
    }

    /// What the kernel would do: an item is 25 bytes and a bitmap 256, and 100 extents lie between the thresholds.
    fn convert(&mut self) {
        let (count, high) = (runs(&self.free).len(), self.free.len().div_ceil(2048) * (25 + 256) / 25);
        let converted = match self.uses_bitmaps {
            false => count > high,
            true => high > 100 && count < high - 100,
        };
        if converted {
            self.uses_bitmaps ^= true;
            self.conversions[usize::from(self.uses_bitmaps)] += 1;
        }
    }
}

#[test]
fn items_say_what_is_free_whatever_was_free_before() {
    let mut random = Random(1);
    let mut tree = Tree::new();
    let model = |group: Group| {
        let free = vec![false; (group.length / SECTOR) as usize];
        Modelled { group, free, uses_bitmaps: false, is_fragmenting: true, conversions: [0; 2] }
    };
    let mut models: Vec<_> =
        groups(&[2048 * 10 + 5, 100, 2048 * 13, 1, 2048 * 12 + 2047]).into_iter().map(model).collect();
    for model in &models {
        tree.update(&model.group, &FreeExtents::default()).unwrap();
    }
    for step in 0..6000 {
        let index = random.below(models.len());
        models[index].change(&mut random);
        models[index].convert();
        let group = models[index].group;
        let free = extents(&group, &models[index].free, SECTOR);
        tree.update(&group, &free).unwrap();
        tree.untouched(|tree| tree.update(&group, &free)).unwrap();
        let items = tree.items();
        let (is_free, uses_bitmaps) = read(&items, &group, SECTOR);
        assert!(is_free == models[index].free, "step {step}");
        assert_eq!(uses_bitmaps, models[index].uses_bitmaps, "step {step}");
        if step % 50 == 0 {
            tree.store.verify(&[tree.root]);
            for model in &models {
                assert_eq!(read(&items, &model.group, SECTOR), (model.free.clone(), model.uses_bitmaps));
            }
        }
    }
    for model in models.iter().filter(|model| model.free.len() > 2048 * 9) {
        assert!(model.conversions.iter().all(|count| *count >= 3), "{:?}", model.conversions);
    }
}

#[test]
fn thresholds_are_crossed_at_the_same_extent_as_in_the_kernel() {
    // 13 bitmaps of 281 bytes are worth 146 items of 25.
    let [group] = groups(&[2048 * 12 + 1])[..] else { unreachable!() };
    let mut tree = Tree::new();
    let mut form = |count: u64| {
        let mut free = FreeExtents::default();
        (0..count).for_each(|index| free.add(Logical(group.logical.0 + index * 2 * SECTOR), SECTOR));
        tree.update(&group, &free).unwrap();
        read(&tree.items(), &group, SECTOR).1
    };
    let forms = [0, 146, 147, 146, 46, 45, 46, 146, 147].map(&mut form);
    assert_eq!(forms, [false, false, true, true, true, false, false, false, true]);
}

#[test]
fn removing_a_group_leaves_its_neighbours() {
    let groups = groups(&[300, 2048 * 2, 300]);
    for free in [fragments(&groups[1]), vec![true; 2048 * 2]] {
        let mut tree = Tree::new();
        let others: Vec<_> = groups.iter().map(|group| extents(group, &fragments(group), SECTOR)).collect();
        for index in [0, 2] {
            tree.update(&groups[index], &others[index]).unwrap();
        }
        let without = tree.items();
        tree.update(&groups[1], &extents(&groups[1], &free, SECTOR)).unwrap();
        let with = tree.items();
        remove(&mut tree.root, &mut tree.store, groups[1].logical, groups[1].length).unwrap();
        assert_eq!(tree.items(), without);
        tree.store.verify(&[tree.root]);
        tree.untouched(|tree| remove(&mut tree.root, &mut tree.store, groups[1].logical, groups[1].length)).unwrap();
        tree.update(&groups[1], &extents(&groups[1], &free, SECTOR)).unwrap();
        assert_eq!(tree.items(), with);
    }
}

#[test]
fn damage_is_not_written_over() {
    let [group] = groups(&[2048 * 2 + 9])[..] else { unreachable!() };
    let (start, end) = (group.logical.0, group.logical.0 + group.length);
    let info = Key::new(start, INFO, group.length);
    let first_extent = Key::new(start, EXTENT, SECTOR);
    let bitmaps = [(0, 2048), (2048, 2048), (4096, 9)]
        .map(|(first, sectors)| Key::new(start + first * SECTOR, BITMAP, sectors * SECTOR));
    let add = |key: Key, data: &'static [u8]| move |editor: &mut Editor<'_, Store>| editor.insert(key, data).unwrap();
    let delete = |key: Key| move |editor: &mut Editor<'_, Store>| editor.delete(key).unwrap();
    let set = |key: Key, data: &'static [u8]| move |editor: &mut Editor<'_, Store>| editor.replace(key, data).unwrap();
    type Damage = Box<dyn Fn(&mut Editor<'_, Store>)>;
    let in_both: [(&str, Damage); 6] = [
        ("no free space info", Box::new(delete(info))),
        ("size", Box::new(set(info, &[0; 9]))),
        ("unknown flags", Box::new(set(info, &[2, 0, 0, 0, 2, 0, 0, 0]))),
        ("is there, but no", Box::new(add(Key::new(start, KeyType(1), 0), &[]))),
        ("form in use", Box::new(add(Key::new(start + SECTOR, INFO, SECTOR), &[0; 8]))),
        ("form in use", Box::new(add(Key::new(end - 1, KeyType(201), SECTOR), &[]))),
    ];
    let in_extents: [(&str, Damage); 9] = [
        ("count", Box::new(delete(first_extent))),
        ("count", Box::new(add(Key::new(start + 1000 * SECTOR, EXTENT, SECTOR), &[]))),
        ("form in use", Box::new(add(bitmaps[0], &[0; 256]))),
        ("form in use", Box::new(set(info, &[2, 0, 0, 0, 1, 0, 0, 0]))),
        ("overlaps", Box::new(add(Key::new(start, EXTENT, 2 * SECTOR), &[]))),
        ("leaves", Box::new(add(Key::new(end - SECTOR, EXTENT, 2 * SECTOR), &[]))),
        ("leaves", Box::new(add(Key::new(end - SECTOR, EXTENT, u64::MAX - SECTOR + 1), &[]))),
        ("not aligned", Box::new(add(Key::new(start + 1000 * SECTOR + 1, EXTENT, SECTOR), &[]))),
        ("size", Box::new(add(Key::new(start + 1000 * SECTOR, EXTENT, SECTOR), &[0]))),
    ];
    let in_bitmaps: [(&str, Damage); 8] = [
        ("gap", Box::new(delete(bitmaps[1]))),
        ("end", Box::new(delete(bitmaps[2]))),
        ("count", Box::new(set(bitmaps[1], &[0; 256]))),
        ("size", Box::new(set(bitmaps[1], &[0; 255]))),
        ("overlaps", Box::new(add(Key::new(start + SECTOR, BITMAP, SECTOR), &[0]))),
        ("form in use", Box::new(add(first_extent, &[]))),
        ("leaves", Box::new(add(Key::new(end - SECTOR, BITMAP, 2 * SECTOR), &[0]))),
        ("not aligned", Box::new(add(Key::new(end - SECTOR, BITMAP, 1), &[0]))),
    ];
    let few: Vec<_> = (0..2048 * 2 + 9).map(|sector| sector == 0 || sector == 2).collect();
    let cases = [(&in_both[..], few.clone()), (&in_both[..], fragments(&group))];
    for (damages, free) in cases.into_iter().chain([(&in_extents[..], few), (&in_bitmaps[..], fragments(&group))]) {
        for (problem, damage) in damages {
            let mut tree = Tree::new();
            let free = extents(&group, &free, SECTOR);
            tree.update(&group, &free).unwrap();
            damage(&mut tree.editor());
            for free in [free, FreeExtents::default()] {
                let error = tree.untouched(|tree| tree.update(&group, &free)).unwrap_err().to_string();
                assert!(error.contains(problem) && error.contains("to be checked"), "{problem}: {error}");
            }
        }
    }
}

#[test]
fn free_ranges_outside_of_the_group_are_not_written() {
    let [group, other] = groups(&[100, 100])[..] else { unreachable!() };
    let mut tree = Tree::new();
    for (start, length) in [
        (group.logical.0 - SECTOR, 2 * SECTOR),
        (other.logical.0 - SECTOR, 2 * SECTOR),
        (other.logical.0, SECTOR),
        (group.logical.0 + 1, SECTOR),
        (group.logical.0, SECTOR - 1),
    ] {
        let mut free = FreeExtents::default();
        free.add(Logical(start), length);
        tree.untouched(|tree| tree.update(&group, &free)).unwrap_err();
    }
    let impossible = [
        (1 << 20, 0),
        (u64::MAX - SECTOR + 1, 2 * SECTOR),
        (1 << 20, SECTOR + 1),
        ((1 << 20) + 1, SECTOR),
        (0, u64::MAX),
    ];
    for (logical, length) in impossible {
        let group = Group { logical: Logical(logical), length };
        tree.untouched(|tree| tree.update(&group, &FreeExtents::default())).unwrap_err();
    }
}

#[test]
fn items_of_the_kernel_are_left_as_they_are() {
    let (mut groups, mut with_bitmaps) = (0, 0);
    for name in kernel_image_names("items_of_the_kernel_are_left_as_they_are") {
        let Some(images) = kernel_image_or_skip(&name) else { return };
        let volume = open(&images);
        let Some(free_space) = trees(&volume).into_iter().find(|root| root.key.objectid == objectid::FREE_SPACE_TREE)
        else {
            continue;
        };
        let mut kernels = Items::new();
        for_each_item(&volume, &free_space, |item| drop(kernels.insert(item.key, item.data.to_vec())));
        let mut tree = Tree::new();
        tree.editor()
            .insert_sorted(&kernels.iter().map(|(key, data)| NewItem { key: *key, data }).collect::<Vec<_>>())
            .unwrap();
        let sector = volume.format().sectorsize;
        for key in kernels.keys().filter(|key| key.key_type == INFO) {
            let group = Group { logical: Logical(key.objectid), length: key.offset };
            let (free, uses_bitmaps) = read(&kernels, &group, sector.into());
            let free = extents(&group, &free, sector.into());
            tree.untouched(|tree| update(&mut tree.root, &mut tree.store, &group, &free, sector)).unwrap();
            if !uses_bitmaps {
                // A new group with bitmaps may have the other form: its extents were once more than they are now.
                remove(&mut tree.root, &mut tree.store, group.logical, group.length).unwrap();
                update(&mut tree.root, &mut tree.store, &group, &free, sector).unwrap();
                assert!(tree.items() == kernels, "{name}: block group {}", group.logical);
            }
            groups += 1;
            with_bitmaps += usize::from(uses_bitmaps);
        }
    }
    assert!(groups > 50 && with_bitmaps > 0, "{groups} block groups, {with_bitmaps} with bitmaps");
}
