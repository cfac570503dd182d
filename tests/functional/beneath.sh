#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The file system the image lies on: each can do something else, and with each
# it works. Prints what it found, and that is what the user guide's table says:
#
#	VHD_TEST_WHOLE=1 tests/suite --verbose --file beneath 6.1 | grep 'beneath:'
. "${0%/*}/../lib.sh"

DIR=/tmp/vhd-beneath

# A file system of its own, on a loop device over the one under test
on_loop() { # TYPE MKFS...
	local type=$1 loop
	shift
	truncate -s 400M disk
	"$@" disk >/dev/null
	mkdir -p $DIR
	loop=$(losetup --find --show disk)
	cleanup_fn losetup -d "$loop"
	cleanup_fn umount $DIR
	mount -t "$type" "$loop" $DIR || fail "$type cannot be mounted"
}

yes_no() { if "$@" 2>/dev/null; then echo yes; else echo no; fi; }
sparse() { truncate -s 8M "$1/hole" && [ "$(stat -c %b "$1/hole")" -lt 100 ]; }
keeps_size() { : > "$1/reserve" && fallocate -n -l 1M "$1/reserve" && [ "$(stat -c %s "$1/reserve")" = 0 ]; }
punches() { dd if=/dev/zero of="$1/punch" bs=64k count=4 status=none && fallocate -p -o 64k -l 64k "$1/punch"; }

# What the file system at hand can do: holes, space reserved ahead, holes made again
abilities() {
	echo "sparse $(yes_no sparse "$1"), reserve $(yes_no keeps_size "$1"), punch $(yes_no punches "$1")"
	rm -f "$1"/{hole,reserve,punch}
}

# as_told NAME "DIO SPARSE RESERVE PUNCH": the row of the user guide says the same
as_told() {
	local name=$1 row
	case $1 in
	ntfs*) name="NTFS \\($1\\)" ;;
	nfs4) name=NFSv4 ;;
	esac
	row=$(sed -n '/^file system  .*direct I.O/,/^$/p' "$REPO/Documentation/admin-guide/vhd.rst" | grep -iE "^([a-z0-9]+, )*$name") ||
		fail "$1 is not in the table of the user guide"
	row=$(sed 's/.\{29\}//; s/7.3, not 6.1/yes/' <<<"$row" | xargs)
	[ "$row" = "$2" ] || fail "$1: the user guide says $row, not $2"
}

# A dynamic and a fixed image there: written in any order, read again, detached, sound
works_on() { # NAME DIRECTORY
	local image dio found
	create --size 100M "$2/a.vhd"
	create --size 20M --type fixed "$2/b.vhd"
	for image in a b; do
		attach "$2/$image.vhd"
		dio=$(vhdctl list -n --raw -O DIO "$DEV")
		vhdio write "$DEV" 1 0 10240 -b 64 -r
		vhdio write "$DEV" 2 512 64 -f
		detach
		attach "$2/$image.vhd"
		vhdio verify "$DEV" 1 4096 6144 -b 64
		vhdio verify "$DEV" 2 512 64
		# The other way, too, if there are two
		if vhdctl set --direct-io=$([ "$dio" = 1 ] && echo off || echo on) "$DEV"; then
			vhdio write "$DEV" 3 8192 512 -b 64
			vhdio verify "$DEV" 3 8192 512
		fi
		detach
		sound "$2/$image.vhd"
	done
	found="direct I/O $([ "$dio" = 1 ] && echo yes || echo no), $(abilities "$2")"
	note "beneath: $1: $found"
	as_told "$1" "$(grep -oE '\b(yes|no)\b' <<<"$found" | xargs)"
}

t_ext4() { uml_is_enough; on_loop ext4 mkfs.ext4 -q -F; works_on ext4 $DIR; }
t_xfs() { uml_is_enough; requires mkfs.xfs; requires_module xfs xfs; on_loop xfs mkfs.xfs -q -f; works_on xfs $DIR; }
t_btrfs() { uml_is_enough; requires mkfs.btrfs; requires_module btrfs btrfs; on_loop btrfs mkfs.btrfs -q -f; works_on btrfs $DIR; }
t_vfat() { uml_is_enough; requires_module vfat vfat; on_loop vfat mkfs.vfat; works_on vfat $DIR; }
t_exfat() { uml_is_enough; requires mkfs.exfat; requires_module exfat exfat; on_loop exfat mkfs.exfat; works_on exfat $DIR; }
t_ntfs3() { requires mkntfs; requires_module ntfs3 ntfs3; on_loop ntfs3 mkntfs -q -F -f; works_on ntfs3 $DIR; }

t_ntfs_3g() {
	newest_is_enough
	requires mkntfs ntfs-3g
	requires_module fuse fuse
	! is_uml || skip 'this kernel mounts no device that is open for writing'
	truncate -s 400M disk
	mkntfs -q -F -f disk >/dev/null
	mkdir -p $DIR
	cleanup_fn umount $DIR
	ntfs-3g disk $DIR
	works_on ntfs-3g $DIR
}

t_tmpfs() {
	uml_is_enough
	mkdir -p $DIR
	mount -t tmpfs -o size=200M tmpfs $DIR
	cleanup_fn umount $DIR
	works_on tmpfs $DIR
}

# The image below is untouched: what is written is written above
t_overlay() {
	local before
	uml_is_enough
	requires_module overlay overlay
	mkdir -p lower upper work $DIR
	create --size 20M lower/c.vhd
	before=$(sums lower/c.vhd)
	mount -t overlay -o "lowerdir=$PWD/lower,upperdir=$PWD/upper,workdir=$PWD/work" overlay $DIR
	cleanup_fn umount $DIR
	works_on overlay $DIR
	attach $DIR/c.vhd
	vhdio write "$DEV" 1 0 1024
	detach
	sound $DIR/c.vhd
	[ "$(sums lower/c.vhd)" = "$before" ] || fail 'the image in the lower layer was changed'
}

# Server and client are one machine
nfs_server() {
	[ -d /proc/fs/nfsd ] || skip 'no nfsd'
	mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
	mkdir -p /var/lib/nfs/{v4recovery,rpc_pipefs} export
	touch /var/lib/nfs/{etab,rmtab}
	cleanup_fn stop_nfs
	exportfs -o rw,no_root_squash,insecure,no_subtree_check,fsid=0 "127.0.0.1:$PWD/export"
	rpc.mountd -N 3
	# Nobody has files open from before: do not wait a minute and a half for them
	echo 10 > /proc/fs/nfsd/nfsv4gracetime || note 'the time of grace stays what it is'
	rpc.nfsd -N 3 -V 4 2
	# Busy if it has ended already
	echo Y > /proc/fs/nfsd/v4_end_grace || note 'grace ends by itself'
}

stop_nfs() {
	umount -l $DIR
	rpc.nfsd 0
	exportfs -uav
	kill "$(pidof rpc.mountd)"
	umount /proc/fs/nfsd
}

t_nfs4() {
	newest_is_enough
	requires rpc.nfsd rpc.mountd exportfs mount.nfs
	requires_module nfsd nfsd
	requires_module nfsv4 nfs4
	nfs_server
	mkdir -p $DIR
	mount -t nfs4 -o soft,timeo=100,retrans=1 127.0.0.1:/ $DIR
	works_on nfs4 $DIR
	# Locks go to the server: there, the file is in use. (A second mount of ours
	# would be the same client, whose own locks do not keep it out.)
	attach $DIR/a.vhd
	expect_fail 5 'in use by another' vhdctl attach export/a.vhd
	detach
	attach export/a.vhd
	vhdio verify "$DEV" 3 8192 512
	detach
}

run_cases "$@"
