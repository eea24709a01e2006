complete -c rbtrfs-chunk-alloc -l type -d 'What the chunks are for' -r -f -a "data\t''
metadata\t''
system\t''"
complete -c rbtrfs-chunk-alloc -l profile -d 'How they are replicated; as the others of their type by default' -r
complete -c rbtrfs-chunk-alloc -l count -d 'How many' -r
complete -c rbtrfs-chunk-alloc -l size -d 'Bytes of each at the most; as many as the kernel would give it by default' -r
complete -c rbtrfs-chunk-alloc -l threads -d 'Number of threads' -r
complete -c rbtrfs-chunk-alloc -l force -d 'Whether to allocate although there is space left: "no", "limited" (if it is little) or "force"' -r -f -a "no\t''
limited\t''
force\t''"
complete -c rbtrfs-chunk-alloc -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs-chunk-alloc -l json -d 'Print one JSON document'
complete -c rbtrfs-chunk-alloc -l dry-run -d 'Say what would be done, and write nothing'
complete -c rbtrfs-chunk-alloc -l degraded -d 'Write the devices that are there and whole, although others are missing or stale'
complete -c rbtrfs-chunk-alloc -l allow-partial-rows -d 'Write to rows of RAID5 and RAID6 chunks that hold something already, too'
complete -c rbtrfs-chunk-alloc -l cancel-replace -d 'Give up a replacement of a device by the kernel that is not finished; its target is none of the IMAGE operands'
complete -c rbtrfs-chunk-alloc -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs-chunk-alloc -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs-chunk-alloc -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs-chunk-alloc -s V -l version -d 'Print version'
