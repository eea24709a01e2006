complete -c mkfs.rbtrfs -s d -l data -d 'How data is replicated' -r
complete -c mkfs.rbtrfs -s m -l metadata -d 'How metadata is replicated; on one device DUP by default, on several RAID1' -r
complete -c mkfs.rbtrfs -l csum -l checksum -d 'Checksums: "crc32c", "xxhash", "sha256" or "blake2"' -r
complete -c mkfs.rbtrfs -s n -l nodesize -d 'Bytes of a tree block' -r
complete -c mkfs.rbtrfs -s l -l leafsize -d 'Another name of --nodesize' -r
complete -c mkfs.rbtrfs -s s -l sectorsize -d 'Bytes of a block of data' -r
complete -c mkfs.rbtrfs -s O -l features -d 'Features to add, or with a caret before their names to leave out; "list-all" prints those that there are' -r
complete -c mkfs.rbtrfs -s R -l runtime-features -d 'The same as --features' -r
complete -c mkfs.rbtrfs -s L -l label -d 'Name of the filesystem' -r
complete -c mkfs.rbtrfs -s U -l uuid -d 'UUID of the filesystem' -r
complete -c mkfs.rbtrfs -l device-uuid -d 'UUID of the one device' -r
complete -c mkfs.rbtrfs -s b -l byte-count -d 'Bytes of the filesystem on each device; a file is made as large' -r
complete -c mkfs.rbtrfs -l size -d 'Size of a file that is missing or empty; 1G by default, or what the content of --rootdir needs' -r
complete -c mkfs.rbtrfs -s r -l rootdir -d 'Copy what is in this directory into the filesystem' -r -F
complete -c mkfs.rbtrfs -l compress -d 'Compress files: "zstd[:1-15]", "zlib[:1-9]", "lzo" or "no"' -r
complete -c mkfs.rbtrfs -s u -l subvol -d 'Make a directory a subvolume: "ro:" before its path makes it read-only, "default:" or "default-ro:" what a mount shows; "/" is the top level' -r
complete -c mkfs.rbtrfs -l inode-flags -d 'Give a file or a directory inode flags: "nodatacow", "nodatasum" or both with a comma' -r
complete -c mkfs.rbtrfs -l shrink-slack-size -d 'Bytes to leave behind the content' -r
complete -c mkfs.rbtrfs -l threads -d 'Number of threads; as many as there are processors by default' -r
complete -c mkfs.rbtrfs -s A -l alloc-start -d 'Has no effect' -r
complete -c mkfs.rbtrfs -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c mkfs.rbtrfs -s M -l mixed -d 'Data and metadata in the same block groups'
complete -c mkfs.rbtrfs -l reflink -d 'Share the data with the files in the directory instead of copying it'
complete -c mkfs.rbtrfs -l shrink -d 'Cut the device behind the content'
complete -c mkfs.rbtrfs -l progress -d 'Tell each second how far the work has come, where there is no terminal for a bar'
complete -c mkfs.rbtrfs -s K -l nodiscard -d 'Do not discard what the devices hold'
complete -c mkfs.rbtrfs -s f -l force -d 'Overwrite other filesystems and partition tables'
complete -c mkfs.rbtrfs -l json -d 'Print one JSON document'
complete -c mkfs.rbtrfs -s q -l quiet -d 'Print nothing but errors'
complete -c mkfs.rbtrfs -s v -l verbose -d 'Has no effect'
complete -c mkfs.rbtrfs -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c mkfs.rbtrfs -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mkfs.rbtrfs -s V -l version -d 'Print version'
