mkdir -p tree/usr/bin tree/etc tree/home/ann
head -c 300000 /dev/urandom >tree/usr/bin/program
echo host >tree/etc/hostname
echo temporary >tree/usr/bin/old.cache
for n in $(seq 200); do
  echo "note $n" >tree/home/ann/note-$n.txt
done
rbtrfs mkfs -q --size 400M --rootdir tree disk.img
rbtrfs chunk-alloc -q --type data --size 16M disk.img
rbtrfs mkfs -q -b 512M -d raid1 -m raid1 --rootdir tree a.img b.img
# Both copies of the root of the extent tree: other trees tell what it held.
cp --sparse=always disk.img damaged.img
root=$(rbtrfs dump-tree -R --json disk.img | jq '.trees[] | select(.root.key.objectid == 2) | .root.bytenr')
rbtrfs list-chunks --json disk.img |
  jq ".chunks[] | select(.logical <= $root and $root < .logical + .length) | .logical as \$at | .stripes[].offset + $root - \$at" |
  while read -r offset; do
    dd if=/dev/zero of=damaged.img bs=4096 seek=$((offset / 4096)) count=4 conv=notrunc status=none
  done
code=0
rbtrfs check -q damaged.img || code=$?
test $code -eq 1
