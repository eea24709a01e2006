fn main() -> std::process::ExitCode {
    rbtrfs::cli::main_of("fsck")
}
