complete -c rbtrfs-chunk-remove -l chunk -d 'Remove the chunk at this address; may be given several times' -r
complete -c rbtrfs-chunk-remove -l type -d 'Only those of this type' -r -f -a "data\t''
metadata\t''
system\t''"
complete -c rbtrfs-chunk-remove -l threads -d 'Number of threads that move; as many as there are processors by default' -r
complete -c rbtrfs-chunk-remove -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs-chunk-remove -l unused -d 'Remove all chunks that are empty, but for one of each profile of each type'
complete -c rbtrfs-chunk-remove -l relocate -d 'Move what is in the chunks to others first'
complete -c rbtrfs-chunk-remove -l json -d 'Print one JSON document'
complete -c rbtrfs-chunk-remove -l dry-run -d 'Say what would be done, and write nothing'
complete -c rbtrfs-chunk-remove -l degraded -d 'Write the devices that are there and whole, although others are missing or stale'
complete -c rbtrfs-chunk-remove -l allow-partial-rows -d 'Write to rows of RAID5 and RAID6 chunks that hold something already, too'
complete -c rbtrfs-chunk-remove -l cancel-replace -d 'Give up a replacement of a device by the kernel that is not finished; its target is none of the IMAGE operands'
complete -c rbtrfs-chunk-remove -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs-chunk-remove -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs-chunk-remove -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs-chunk-remove -s V -l version -d 'Print version'
