#!/bin/bash
# Puts rbtrfs into the initramfs, where it is asked for.

check() {
    require_binaries rbtrfs || return 1
    return 255
}

depends() {
    return 0
}

install() {
    inst_multiple rbtrfs fsck.rbtrfs
}
