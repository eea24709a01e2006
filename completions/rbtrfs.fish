# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_rbtrfs_global_optspecs
    string join \n color= h/help V/version
end

function __fish_rbtrfs_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_rbtrfs_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_rbtrfs_using_subcommand
    set -l cmd (__fish_rbtrfs_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "check" -d 'Verify a filesystem, and repair it if that is asked for'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "dump-tree" -d 'Print the trees of a filesystem as text or JSON'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "dump-super" -d 'Print superblocks as text or JSON'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "list-chunks" -d 'Print where chunks lie, how full they are and what is free'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "ls" -d 'List files and subvolumes, without a mount'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "stat" -d 'Print what an inode says of files, and their extents, without a mount'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "cat" -d 'Print the contents of files, without a mount'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "extract" -d 'Bring files to a directory or into a tar stream, without a mount'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "chunk-alloc" -d 'Allocate chunks'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "chunk-remove" -d 'Remove empty chunks'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "balance" -d 'Move block groups together, and convert them to other profiles'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "device" -d 'Add, remove, replace and list devices'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "resize" -d 'Make a device larger or smaller, with its file'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "min-size" -d 'Print the least size that resize can give a device'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "sprout" -d 'Grow a filesystem from a seed'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "tune" -d 'Make a filesystem a seed, or none'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "undo" -d 'Put images back as they were before a repair'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "mkfs" -d 'Make a filesystem'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "completions" -d 'Print a completion script for a shell'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "fsck" -d 'Verify a filesystem, as fsck(8) has it done'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "man" -d 'Write the man pages into a directory'
complete -c rbtrfs -n "__fish_rbtrfs_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l threads -d 'Number of threads; as many as there are processors by default' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l memory -d 'Memory for records, more of which go to temporary files; a quarter of the machine\'s by default' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -s s -l super -d 'Begin with this copy of the superblock: 0, 1 or 2' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -s r -l tree-root -d 'Begin with the root tree at this address' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l chunk-root -d 'Begin with the chunk tree at this address' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l undo -d 'Save what a repair overwrites in this new file, for rbtrfs undo' -r -F
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l clear-space-cache -d 'Build the cache of free space anew: the hidden files (v1) or the free space tree (v2)' -r -f -a "v1\t''
v2\t''"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l json -d 'Print one JSON document with all problems'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l all -d 'Print every problem, also where there are many of one kind'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -s v -l verbose -d 'Print notes too, which are no damage'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l progress -d 'Tell each second how far the check has come, where there is no terminal for a bar'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l check-data-csum -d 'Read all data and verify its checksums on every copy, and parity'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l force -d 'Check a filesystem that is mounted read-write; what is found may be transient'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l qgroup-report -d 'Print what each quota group stores and what was counted'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -s b -l backup -d 'Begin with the newest backup roots before those of the superblock'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l repair -d 'Mend what is wrong, if a check of the mended filesystem finds it better'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l dry-run -d 'Say what a repair would do and what would be left, and write nothing'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -s y -l yes -d 'Give up what cannot be saved without asking'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l degraded -d 'Repair although devices are missing'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l init-extent-tree -d 'Build the trees of extents and free space anew'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l init-csum-tree -d 'Make all checksums anew, of the data as it is'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l clear-log -d 'Give up the log tree, with what was saved by fsync since the last commit'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l clear-uuid-tree -d 'Have the next mount build the uuid tree anew'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l no-map -d 'Read the images instead of mapping them'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand check" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -s b -l block -d 'Print only the block at this logical address; may be given more than once' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -s t -l tree -d 'Print only the tree with this id, a number or a name such as fs, extent, csum or raid_stripe' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -s e -l extents -d 'Print only the leaves of the extent tree and the device tree'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -s d -l device -d 'Print only the root, chunk and device trees'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -s r -l roots -d 'Print only where the root of each tree is'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -s R -l backups -d 'Print where the root of each tree is, and the backup roots'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -s u -l uuid -d 'Print only the uuid tree'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -l follow -d 'With --block: print all that is below the block too'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -l bfs -d 'Print each tree level by level, nodes before leaves (the default)'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -l dfs -d 'Print each node before what is below it'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -l hide-names -d 'Do not print names of files, subvolumes and extended attributes, nor their values'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -l csum-headers -d 'Print the checksums of tree blocks'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -l csum-items -d 'Print the checksums in checksum items'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -l noscan -d 'Accepted for compatibility: only the devices given are ever used'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -l json -d 'Print one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -l json-lines -d 'Print one JSON object for each item, a line each'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -l no-map -d 'Read the images instead of mapping them'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-tree" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-super" -s s -l super -d 'Print this copy: 0, 1 or 2' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-super" -l bytenr -d 'Print what stands at this byte offset' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-super" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-super" -s f -l full -d 'Print the system chunk array and the backup roots too'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-super" -s a -l all -d 'Print all superblocks of each device'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-super" -s F -l force -d 'Print a superblock even if its magic is wrong'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-super" -l json -d 'Print one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-super" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-super" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand dump-super" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand list-chunks" -l svg -d 'Draw where chunks lie, as SVG in a new file' -r -F
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand list-chunks" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand list-chunks" -l json -d 'Print one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand list-chunks" -l raw -d 'Print all numbers as they are, and every range of every device'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand list-chunks" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand list-chunks" -l no-map -d 'Read the images instead of mapping them'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand list-chunks" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand list-chunks" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand list-chunks" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -l subvol -d 'Begin at the subvolume at this path from the top level, or with this id; 5 is the top level itself' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -l recover -d 'When tree blocks that are lost are looked for elsewhere: a flipped bit is put back, earlier versions are found' -r -f -a "auto\t'Before all is extracted, and where the filesystem cannot be opened without them'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -s s -l super -d 'Begin with this copy of the superblock: 0, 1 or 2' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -s r -l tree-root -d 'Begin with the root tree at this address' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -l chunk-root -d 'Begin with the chunk tree at this address' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -s l -l long -d 'Mode, links, owner, group, size, time, and what a link points to'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -s R -l recursive -d 'All that is below the directories'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -s a -l all -d 'Names that begin with a dot too'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -s i -l inode -d 'Numbers of inodes'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -s d -l directory -d 'Directories themselves, and not what is in them'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -l subvolumes -d 'List the subvolumes and snapshots of the filesystem'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -l json -d 'Print one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -l json-lines -d 'Print a JSON object for each inode'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -s b -l backup -d 'Begin with the newest backup roots before those of the superblock'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -l no-map -d 'Read the images instead of mapping them'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand ls" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand stat" -l subvol -d 'Begin at the subvolume at this path from the top level, or with this id; 5 is the top level itself' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand stat" -l recover -d 'When tree blocks that are lost are looked for elsewhere: a flipped bit is put back, earlier versions are found' -r -f -a "auto\t'Before all is extracted, and where the filesystem cannot be opened without them'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand stat" -s s -l super -d 'Begin with this copy of the superblock: 0, 1 or 2' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand stat" -s r -l tree-root -d 'Begin with the root tree at this address' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand stat" -l chunk-root -d 'Begin with the chunk tree at this address' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand stat" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand stat" -l json -d 'Print one JSON document, as ls --json does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand stat" -s b -l backup -d 'Begin with the newest backup roots before those of the superblock'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand stat" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand stat" -l no-map -d 'Read the images instead of mapping them'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand stat" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand stat" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand stat" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand cat" -l range -d 'Print the bytes from this offset on, and no more than LENGTH of them' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand cat" -l subvol -d 'Begin at the subvolume at this path from the top level, or with this id; 5 is the top level itself' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand cat" -l recover -d 'When tree blocks that are lost are looked for elsewhere: a flipped bit is put back, earlier versions are found' -r -f -a "auto\t'Before all is extracted, and where the filesystem cannot be opened without them'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand cat" -s s -l super -d 'Begin with this copy of the superblock: 0, 1 or 2' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand cat" -s r -l tree-root -d 'Begin with the root tree at this address' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand cat" -l chunk-root -d 'Begin with the chunk tree at this address' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand cat" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand cat" -s b -l backup -d 'Begin with the newest backup roots before those of the superblock'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand cat" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand cat" -l no-map -d 'Read the images instead of mapping them'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand cat" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand cat" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -s C -l directory -d 'Extract into this directory, which is made if it is not there' -r -F
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -l tar -d 'Write a tar stream to this file, or to standard output for -' -r -F
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -l exclude -d 'Leave out what has this name or path; *, **, ? and [a-z] stand for others' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -l bad-sectors -d 'What becomes of sectors whose checksum is wrong on all copies' -r -f -a "zero\t'They are zeroes'
keep\t'They are what some copy has'
skip-file\t'Their files are left out'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -l reflink -d 'Whether ranges that files share are shared in the directory, where its filesystem can do that' -r -f -a "auto\t'Where that can be done'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -l report -d 'Write what is missing or not as it was to this file, as JSON' -r -F
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -l threads -d 'Number of threads; as many as there are processors by default' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -l subvol -d 'Begin at the subvolume at this path from the top level, or with this id; 5 is the top level itself' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -l recover -d 'When tree blocks that are lost are looked for elsewhere: a flipped bit is put back, earlier versions are found' -r -f -a "auto\t'Before all is extracted, and where the filesystem cannot be opened without them'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -s s -l super -d 'Begin with this copy of the superblock: 0, 1 or 2' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -s r -l tree-root -d 'Begin with the root tree at this address' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -l chunk-root -d 'Begin with the chunk tree at this address' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -l snapshots -d 'Extract snapshots too; without it they come out as empty directories'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -l resume -d 'Go on in a directory where an earlier run has ended: pass over files of the right size and time'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -l roots -d 'List the roots that backup roots and a search of all metadata offer for --tree-root, and extract nothing'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -l json -d 'Print the roots as one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -l progress -d 'Tell each second how far the work has come, where there is no terminal for a bar'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -s b -l backup -d 'Begin with the newest backup roots before those of the superblock'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -l no-map -d 'Read the images instead of mapping them'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand extract" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-alloc" -l type -d 'What the chunks are for' -r -f -a "data\t''
metadata\t''
system\t''"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-alloc" -l profile -d 'How they are replicated; as the others of their type by default' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-alloc" -l count -d 'How many' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-alloc" -l size -d 'Bytes of each at the most; as many as the kernel would give it by default' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-alloc" -l threads -d 'Number of threads' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-alloc" -l force -d 'Whether to allocate although there is space left: "no", "limited" (if it is little) or "force"' -r -f -a "no\t''
limited\t''
force\t''"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-alloc" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-alloc" -l json -d 'Print one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-alloc" -l dry-run -d 'Say what would be done, and write nothing'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-alloc" -l degraded -d 'Write the devices that are there and whole, although others are missing or stale'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-alloc" -l allow-partial-rows -d 'Write to rows of RAID5 and RAID6 chunks that hold something already, too'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-alloc" -l cancel-replace -d 'Give up a replacement of a device by the kernel that is not finished; its target is none of the IMAGE operands'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-alloc" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-alloc" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-alloc" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-alloc" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-remove" -l chunk -d 'Remove the chunk at this address; may be given several times' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-remove" -l type -d 'Only those of this type' -r -f -a "data\t''
metadata\t''
system\t''"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-remove" -l threads -d 'Number of threads that move; as many as there are processors by default' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-remove" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-remove" -l unused -d 'Remove all chunks that are empty, but for one of each profile of each type'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-remove" -l relocate -d 'Move what is in the chunks to others first'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-remove" -l json -d 'Print one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-remove" -l dry-run -d 'Say what would be done, and write nothing'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-remove" -l degraded -d 'Write the devices that are there and whole, although others are missing or stale'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-remove" -l allow-partial-rows -d 'Write to rows of RAID5 and RAID6 chunks that hold something already, too'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-remove" -l cancel-replace -d 'Give up a replacement of a device by the kernel that is not finished; its target is none of the IMAGE operands'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-remove" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-remove" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-remove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand chunk-remove" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -s d -l data -d 'Balance data block groups, those that pass the filters' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -s m -l metadata -d 'Balance metadata block groups; system ones with the same filters if nothing is said of them' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -s s -l system -d 'Balance system block groups' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -l threads -d 'Number of threads; as many as there are processors by default' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -l svg -d 'Draw the layouts before and after, as SVG in a new file' -r -F
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -l full -d 'Balance all block groups'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -s f -l force -d 'Give metadata a profile of less redundancy, too'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -l resume -d 'Go on with a balance of the kernel that is paused or was interrupted, with its filters'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -l cancel -d 'End a balance of the kernel that is paused or was interrupted, and move nothing'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -s p -l progress -d 'Print progress once a second where there is no terminal'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -l json -d 'Print one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -l dry-run -d 'Say what would be done, and write nothing'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -l degraded -d 'Write the devices that are there and whole, although others are missing or stale'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -l allow-partial-rows -d 'Write to rows of RAID5 and RAID6 chunks that hold something already, too'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -l cancel-replace -d 'Give up a replacement of a device by the kernel that is not finished; its target is none of the IMAGE operands'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand balance" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and not __fish_seen_subcommand_from add list remove replace stats help" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and not __fish_seen_subcommand_from add list remove replace stats help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and not __fish_seen_subcommand_from add list remove replace stats help" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and not __fish_seen_subcommand_from add list remove replace stats help" -f -a "add" -d 'Add devices'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and not __fish_seen_subcommand_from add list remove replace stats help" -f -a "list" -d 'Print sizes, profiles and counted errors of devices'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and not __fish_seen_subcommand_from add list remove replace stats help" -f -a "remove" -d 'Move all that lies on a device to others, and remove it'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and not __fish_seen_subcommand_from add list remove replace stats help" -f -a "replace" -d 'Give the place of a device to another one'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and not __fish_seen_subcommand_from add list remove replace stats help" -f -a "stats" -d 'Print the errors that were counted on devices'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and not __fish_seen_subcommand_from add list remove replace stats help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from add" -l new -d 'A file or block device that is to become a device; may be given several times' -r -F
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from add" -l size -d 'Bytes of a file that is made, or that is enlarged to it' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from add" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from add" -s f -l force -d 'Overwrite another filesystem or a partition table on the new device'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from add" -l json -d 'Print one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from add" -l dry-run -d 'Say what would be done, and write nothing'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from add" -l degraded -d 'Write the devices that are there and whole, although others are missing or stale'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from add" -l allow-partial-rows -d 'Write to rows of RAID5 and RAID6 chunks that hold something already, too'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from add" -l cancel-replace -d 'Give up a replacement of a device by the kernel that is not finished; its target is none of the IMAGE operands'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from add" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from add" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from add" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from list" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from list" -l json -d 'Print one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from list" -l no-map -d 'Read the images instead of mapping them'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from list" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from remove" -l devid -d 'The device by its number, or "missing" for the first that is missing' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from remove" -l threads -d 'Number of threads; as many as there are processors by default' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from remove" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from remove" -s p -l progress -d 'Print progress once a second where there is no terminal'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from remove" -l json -d 'Print one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from remove" -l dry-run -d 'Say what would be done, and write nothing'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from remove" -l degraded -d 'Write the devices that are there and whole, although others are missing or stale'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from remove" -l allow-partial-rows -d 'Write to rows of RAID5 and RAID6 chunks that hold something already, too'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from remove" -l cancel-replace -d 'Give up a replacement of a device by the kernel that is not finished; its target is none of the IMAGE operands'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from remove" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from remove" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from remove" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from replace" -l devid -d 'The device by its number, or "missing" for the first that is missing' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from replace" -l new -d 'A file or block device that takes its place; a missing file is made as large' -r -F
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from replace" -l size -d 'Bytes of a file that is made, or that is enlarged to it' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from replace" -l threads -d 'Number of threads; as many as there are processors by default' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from replace" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from replace" -s f -l force -d 'Overwrite another filesystem or a partition table on the new device'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from replace" -s p -l progress -d 'Print progress once a second where there is no terminal'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from replace" -l json -d 'Print one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from replace" -l dry-run -d 'Say what would be done, and write nothing'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from replace" -l degraded -d 'Write the devices that are there and whole, although others are missing or stale'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from replace" -l allow-partial-rows -d 'Write to rows of RAID5 and RAID6 chunks that hold something already, too'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from replace" -l cancel-replace -d 'Give up a replacement of a device by the kernel that is not finished; its target is none of the IMAGE operands'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from replace" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from replace" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from replace" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from replace" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from stats" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from stats" -s z -l reset -d 'Print the counts, and set them to zero'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from stats" -l json -d 'Print one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from stats" -l dry-run -d 'Say what would be done, and write nothing'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from stats" -l degraded -d 'Write the devices that are there and whole, although others are missing or stale'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from stats" -l allow-partial-rows -d 'Write to rows of RAID5 and RAID6 chunks that hold something already, too'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from stats" -l cancel-replace -d 'Give up a replacement of a device by the kernel that is not finished; its target is none of the IMAGE operands'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from stats" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from stats" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from stats" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from stats" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from help" -f -a "add" -d 'Add devices'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from help" -f -a "list" -d 'Print sizes, profiles and counted errors of devices'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Move all that lies on a device to others, and remove it'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from help" -f -a "replace" -d 'Give the place of a device to another one'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from help" -f -a "stats" -d 'Print the errors that were counted on devices'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand device; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand resize" -l devid -d 'The device by its number; needed where there are several' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand resize" -l slack -d 'Leave so many bytes behind the last chunk, with "min"' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand resize" -l threads -d 'Number of threads; as many as there are processors by default' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand resize" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand resize" -l keep-file-size -d 'Leave a file as long as it is'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand resize" -s p -l progress -d 'Print progress once a second where there is no terminal'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand resize" -l json -d 'Print one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand resize" -l dry-run -d 'Say what would be done, and write nothing'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand resize" -l degraded -d 'Write the devices that are there and whole, although others are missing or stale'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand resize" -l allow-partial-rows -d 'Write to rows of RAID5 and RAID6 chunks that hold something already, too'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand resize" -l cancel-replace -d 'Give up a replacement of a device by the kernel that is not finished; its target is none of the IMAGE operands'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand resize" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand resize" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand resize" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand resize" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand min-size" -l devid -d 'The device by its number; needed where there are several' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand min-size" -l slack -d 'Leave so many bytes behind the last chunk' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand min-size" -l threads -d 'Number of threads; as many as there are processors by default' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand min-size" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand min-size" -s p -l progress -d 'Print progress once a second where there is no terminal'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand min-size" -l degraded -d 'Go on although other devices are missing or stale'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand min-size" -l json -d 'Print one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand min-size" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand min-size" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand min-size" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand sprout" -l new -d 'A file or block device that the filesystem grows onto' -r -F
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand sprout" -l size -d 'Bytes of a file that is made, or that is enlarged to it' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand sprout" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand sprout" -s f -l force -d 'Overwrite another filesystem or a partition table on the new device'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand sprout" -l json -d 'Print one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand sprout" -l dry-run -d 'Say what would be done, and write nothing'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand sprout" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand sprout" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand sprout" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand sprout" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand tune" -l seed -d 'Make the filesystem a seed, or none' -r -f -a "on\t''
off\t''"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand tune" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand tune" -s f -l force -d 'Clear the flag of a seed, although what has grown from it may be lost with that'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand tune" -l json -d 'Print one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand tune" -l dry-run -d 'Say what would be done, and write nothing'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand tune" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand tune" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand tune" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand tune" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand undo" -l redo -d 'Save what is overwritten in a new file, with which the undo can be undone' -r -F
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand undo" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand undo" -l dry-run -d 'Verify the file and the images, say what would be put back, and write nothing'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand undo" -l json -d 'Print one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand undo" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand undo" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand undo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand undo" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s d -l data -d 'How data is replicated' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s m -l metadata -d 'How metadata is replicated; on one device DUP by default, on several RAID1' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -l csum -l checksum -d 'Checksums: "crc32c", "xxhash", "sha256" or "blake2"' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s n -l nodesize -d 'Bytes of a tree block' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s l -l leafsize -d 'Another name of --nodesize' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s s -l sectorsize -d 'Bytes of a block of data' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s O -l features -d 'Features to add, or with a caret before their names to leave out; "list-all" prints those that there are' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s R -l runtime-features -d 'The same as --features' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s L -l label -d 'Name of the filesystem' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s U -l uuid -d 'UUID of the filesystem' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -l device-uuid -d 'UUID of the one device' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s b -l byte-count -d 'Bytes of the filesystem on each device; a file is made as large' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -l size -d 'Size of a file that is missing or empty; 1G by default, or what the content of --rootdir needs' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s r -l rootdir -d 'Copy what is in this directory into the filesystem' -r -F
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -l compress -d 'Compress files: "zstd[:1-15]", "zlib[:1-9]", "lzo" or "no"' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s u -l subvol -d 'Make a directory a subvolume: "ro:" before its path makes it read-only, "default:" or "default-ro:" what a mount shows; "/" is the top level' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -l inode-flags -d 'Give a file or a directory inode flags: "nodatacow", "nodatasum" or both with a comma' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -l shrink-slack-size -d 'Bytes to leave behind the content' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -l threads -d 'Number of threads; as many as there are processors by default' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s A -l alloc-start -d 'Has no effect' -r
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s M -l mixed -d 'Data and metadata in the same block groups'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -l reflink -d 'Share the data with the files in the directory instead of copying it'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -l shrink -d 'Cut the device behind the content'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -l progress -d 'Tell each second how far the work has come, where there is no terminal for a bar'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s K -l nodiscard -d 'Do not discard what the devices hold'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s f -l force -d 'Overwrite other filesystems and partition tables'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -l json -d 'Print one JSON document'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s v -l verbose -d 'Has no effect'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -l json-u64-strings -d 'Write integers above 2^53-1 as text, for readers of JSON that round them, as jq before 1.7 does'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand mkfs" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand completions" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand completions" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand fsck" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand fsck" -s n -d 'Verify, and change nothing'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand fsck" -s a -s p -d 'Repair without asking, as at boot'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand fsck" -s y -d 'Repair, and take every answer for yes'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand fsck" -s v -l verbose -d 'Print notes too, which are no damage'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand fsck" -s q -l quiet -d 'Print nothing but errors'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand fsck" -l no-map -d 'Read the images instead of mapping them'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand fsck" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand fsck" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand man" -l color -d 'When to use colours; on terminals by default' -r -f -a "auto\t'On terminals, if NO_COLOR is not set; elsewhere if CLICOLOR_FORCE is'
always\t'Always'
never\t'Never'"
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand man" -s V -l version -d 'Print version'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "check" -d 'Verify a filesystem, and repair it if that is asked for'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "dump-tree" -d 'Print the trees of a filesystem as text or JSON'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "dump-super" -d 'Print superblocks as text or JSON'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "list-chunks" -d 'Print where chunks lie, how full they are and what is free'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "ls" -d 'List files and subvolumes, without a mount'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "stat" -d 'Print what an inode says of files, and their extents, without a mount'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "cat" -d 'Print the contents of files, without a mount'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "extract" -d 'Bring files to a directory or into a tar stream, without a mount'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "chunk-alloc" -d 'Allocate chunks'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "chunk-remove" -d 'Remove empty chunks'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "balance" -d 'Move block groups together, and convert them to other profiles'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "device" -d 'Add, remove, replace and list devices'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "resize" -d 'Make a device larger or smaller, with its file'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "min-size" -d 'Print the least size that resize can give a device'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "sprout" -d 'Grow a filesystem from a seed'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "tune" -d 'Make a filesystem a seed, or none'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "undo" -d 'Put images back as they were before a repair'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "mkfs" -d 'Make a filesystem'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "completions" -d 'Print a completion script for a shell'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "fsck" -d 'Verify a filesystem, as fsck(8) has it done'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "man" -d 'Write the man pages into a directory'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and not __fish_seen_subcommand_from check dump-tree dump-super list-chunks ls stat cat extract chunk-alloc chunk-remove balance device resize min-size sprout tune undo mkfs completions fsck man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and __fish_seen_subcommand_from device" -f -a "add" -d 'Add devices'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and __fish_seen_subcommand_from device" -f -a "list" -d 'Print sizes, profiles and counted errors of devices'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and __fish_seen_subcommand_from device" -f -a "remove" -d 'Move all that lies on a device to others, and remove it'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and __fish_seen_subcommand_from device" -f -a "replace" -d 'Give the place of a device to another one'
complete -c rbtrfs -n "__fish_rbtrfs_using_subcommand help; and __fish_seen_subcommand_from device" -f -a "stats" -d 'Print the errors that were counted on devices'
