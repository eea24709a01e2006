//! What `rbtrfs mkfs` makes, judged by the check, by btrfs-progs and by the kernel.

#[path = "../support/mod.rs"]
mod support;

use rbtrfs::image::Image;
use rbtrfs::mkfs::options::{Options, Wishes};
use rbtrfs::mkfs::{Estimate, Maker, NewDevice, Order};
use rbtrfs::table::Room;

#[test]
fn an_empty_filesystem_is_sound() {
    let scratch = support::Scratch::new();
    let path = scratch.zeros("a.img", 1 << 30);
    let options = Options::new(Wishes::default(), 1).unwrap();
    let room = Room::new(1 << 20);
    let device = NewDevice { image: Image::open_for_writing(&path).unwrap(), size: 1 << 30, grows: false };
    let maker = Maker::new(options, vec![device], &Estimate::default(), &room).unwrap();
    maker.finish(Order::Last, None).unwrap();
    let problems = support::check(&support::open(&[path]), 1);
    assert_eq!(problems, []);
}
