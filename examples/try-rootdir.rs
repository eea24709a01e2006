use rbtrfs::mkfs::{content, source, *};
use rbtrfs::{image::Image, progress::Progress, table::Room};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let method = match args.get(3).map(String::as_str) {
        Some("zstd") => Some(content::Method::Zstd { level: 3 }),
        Some("zlib") => Some(content::Method::Zlib { level: 3 }),
        Some("lzo") => Some(content::Method::Lzo),
        _ => None,
    };
    let threads = args.get(4).map_or(2, |n| n.parse().unwrap());
    let t = std::time::Instant::now();
    let room = Room::new(64 << 20);
    let progress = Progress::default();
    let options = options::Options::new(options::Wishes::default(), 1).unwrap();
    let request = source::Request { directory: (&args[1]).into(), ..Default::default() };
    let walk = source::Options { threads, room: &room, progress: &progress, sectorsize: 4096 };
    let source = source::Source::walk(&request, walk).unwrap_or_else(|e| panic!("{e}"));
    eprintln!("walk {:?} {:?}", t.elapsed(), source.totals);
    let _ = std::fs::remove_file(&args[2]);
    std::fs::File::create(&args[2]).unwrap().set_len(4 << 30).unwrap();
    let device = NewDevice { image: Image::open_for_writing(args[2].as_ref()).unwrap(), size: 4 << 30, grows: false };
    let maker = Maker::new(options, vec![device], &Estimate::default(), &room).unwrap();
    content::fill(&maker, &source, method, threads, &progress).unwrap_or_else(|e| panic!("{e}"));
    eprintln!("fill {:?}", t.elapsed());
    maker.finish(Order::Any, None).unwrap_or_else(|e| panic!("{e}"));
    eprintln!("finish {:?}", t.elapsed());
}
