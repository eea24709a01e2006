fn main() -> std::process::ExitCode {
    rbtrfs::cli::main()
}
