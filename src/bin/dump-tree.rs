fn main() -> std::process::ExitCode {
    rbtrfs::cli::main_of("dump-tree")
}
