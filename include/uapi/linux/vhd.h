/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * ABI of the vhd driver: ioctls of /dev/vhd-control.
 *
 * Every argument carries its own size in its first field.  A caller built
 * against a newer header than the kernel's works as long as the fields the
 * kernel does not know are zero (E2BIG otherwise); one built against an older
 * header gets the defaults of the new fields.  The size encoded in the ioctl
 * number is that of the first version and never changes.
 *
 * Reserved fields and unknown flags must be zero (EINVAL).  All calls need
 * CAP_SYS_ADMIN in the initial user namespace (EPERM).
 *
 * State is read in /sys/block/vhdN/vhd/, not through ioctls.
 */
#ifndef _UAPI_LINUX_VHD_H
#define _UAPI_LINUX_VHD_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define VHD_CONTROL_NAME	"vhd-control"
#define VHD_CONTROL_MINOR	251	/* 10:251, local use; dynamic if taken */
#define VHD_IOC_MAGIC		0xBD

/* Longest chain that can be attached, the top layer included. */
#define VHD_MAX_LAYERS		256

/* vhd_attach_args.flags */
#define VHD_ATTACH_READ_ONLY	(1U << 0)
/* Do not scan for partitions. */
#define VHD_ATTACH_NO_PARTSCAN	(1U << 1)
/* Detach by itself when the last user closes the device. */
#define VHD_ATTACH_AUTOCLEAR	(1U << 2)
/* Direct I/O: require it, or never use it; neither: where it is possible. */
#define VHD_ATTACH_DIO_ON	(1U << 3)
#define VHD_ATTACH_DIO_OFF	(1U << 4)
/* The device's size is that of the CHS geometry (old Virtual PC images). */
#define VHD_ATTACH_SIZE_CHS	(1U << 5)
/* Attach read-write although a saved state depends on the content, or
 * read-only although the dynamic header's checksum is wrong.
 */
#define VHD_ATTACH_FORCE	(1U << 6)

/* Let a parent pass that is not the one its child was made for. */
#define VHD_ATTACH_IGNORE_PARENT_ID	(1U << 7)

/* Refuse discards, and never give space back to the file system. */
#define VHD_ATTACH_NO_DISCARD	(1U << 8)

/* Let requests to mapped blocks go straight to the disk that the image is, or that
 * is under its file system, where that has a protocol for it (XFS): where it is
 * possible, or else refuse (EOPNOTSUPP) what is not possible now.
 */
#define VHD_ATTACH_FAST_LANE	(1U << 9)
#define VHD_ATTACH_FAST_LANE_ON	(1U << 10)

#define VHD_ATTACH_FLAGS	0x7FFU

/**
 * struct vhd_attach_args - VHD_IOC_ATTACH: make an image a block device
 * @size: bytes of this struct as the caller knows it
 * @flags: VHD_ATTACH_*
 * @fds: user pointer to @nr_layers descriptors (__s32), the image first, then
 *	its parents, each a regular file; the image open for reading and, unless
 *	VHD_ATTACH_READ_ONLY, writing; parents open for reading
 * @nr_layers: 1 for fixed and dynamic images; of a differencing one as many as
 *	it takes to end with an image that is not differencing
 * @index: in: N of the wanted /dev/vhdN, or -1 for the first free one;
 *	out: N
 * @logical_block_size: 512, 4096, or 0 for 512
 * @reserved: zero
 * @major: out: device number
 * @minor: out: device number
 *
 * The call returns when the device is usable and its partitions are scanned.
 * It either gives a working device or leaves nothing behind.
 *
 * EINVAL bad argument or an image that is refused; ENOTBLK or EISDIR never:
 * a descriptor of the wrong type is EINVAL, a closed one EBADF, one without
 * the needed access mode EACCES; EBUSY image in use or @index taken; EROFS
 * image can be attached only read-only; EMEDIUMTYPE not a VHD; EUCLEAN damaged
 * image that is refused; ENXIO parent missing or not matching; EIO, ENOMEM,
 * ENOSPC as usual; EOPNOTSUPP no direct I/O, or no fast lane.  The kernel log has
 * the reason in one line.
 */
struct vhd_attach_args {
	__u32	size;
	__u32	flags;
	__u64	fds;
	__u32	nr_layers;
	__s32	index;
	__u32	logical_block_size;
	__u32	reserved;
	__u32	major;
	__u32	minor;
};

/* vhd_detach_args.flags */
/* Busy now: detach when the last user closes it. */
#define VHD_DETACH_DEFERRED	(1U << 0)
/* Take a deferred detach back. */
#define VHD_DETACH_CANCEL	(1U << 1)

#define VHD_DETACH_FLAGS	0x3U

/**
 * struct vhd_detach_args - VHD_IOC_DETACH: commit, tighten, remove the device
 * @size: bytes of this struct as the caller knows it
 * @flags: VHD_DETACH_*
 * @index: N of /dev/vhdN
 * @reserved: zero
 *
 * ENODEV no such device; EBUSY it is open (mounted, held by dm, …).  An I/O
 * error during the last commit is returned, but the device is gone.
 */
struct vhd_detach_args {
	__u32	size;
	__u32	flags;
	__s32	index;
	__u32	reserved;
};

/* vhd_set_args.mask and .flags */
#define VHD_SET_READ_ONLY	(1U << 0)
#define VHD_SET_AUTOCLEAR	(1U << 1)
#define VHD_SET_DIO		(1U << 2)
/* Only in @mask: read the partition table again. */
#define VHD_SET_REREAD		(1U << 3)

#define VHD_SET_FLAGS		0xFU

/**
 * struct vhd_set_args - VHD_IOC_SET: change an attached device
 * @size: bytes of this struct as the caller knows it
 * @mask: which VHD_SET_* to change
 * @flags: their new values
 * @index: N of /dev/vhdN
 *
 * VHD_SET_DIO is for the image, which must be able to (EOPNOTSUPP), and for all of
 * its parents that are.
 *
 * ENODEV no such device; EBUSY it is open (read-only, partitions in use); EROFS
 * the image was attached read-only; EOPNOTSUPP no direct I/O on this file;
 * EINPROGRESS a VHD_IOC_COMMIT or VHD_IOC_COMPACT is under way.
 */
struct vhd_set_args {
	__u32	size;
	__u32	mask;
	__u32	flags;
	__s32	index;
};

/**
 * struct vhd_snapshot_args - VHD_IOC_SNAPSHOT: keep the image, go on in a child
 * @size: bytes of this struct as the caller knows it
 * @flags: zero
 * @index: N of /dev/vhdN
 * @child_fd: open for reading and writing: a differencing image that has no
 *	block yet, is as large as the device, has blocks as large as requests may
 *	be (queue/chunk_sectors) or larger, and was made for the device's image
 * @parent_fd: the image's own file again, open for reading, to be used from
 *	then on, so that the descriptor given at attach, with its locks, is
 *	closed; or -1: that one stays in use
 * @reserved: zero
 * @pause_ns: out: how long new requests had to wait, in nanoseconds
 *
 * Everything is prepared beforehand; then requests are held up until those under
 * way have ended, and go on in the child.  The image becomes its parent: it is
 * committed, made tight and read only from then on.  The device may be in use.
 *
 * An error leaves the device as it was.  Only if the call succeeds and
 * committing the image fails afterwards, which the kernel log tells, the device
 * fails as after any failed flush.
 *
 * ENODEV no such device; EROFS attached read-only; EINVAL a child that does not
 * fit; ENXIO made for another image; EBUSY child in use; EINPROGRESS a
 * VHD_IOC_COMMIT or VHD_IOC_COMPACT is under way; EIO the device has failed; and those of
 * VHD_IOC_ATTACH.  After it there is a change event of the device and its
 * partitions: the image's id is another one.
 */
struct vhd_snapshot_args {
	__u32	size;
	__u32	flags;
	__s32	index;
	__s32	child_fd;
	__s32	parent_fd;
	__u32	reserved;
	__u64	pause_ns;
};

/**
 * struct vhd_commit_args - VHD_IOC_COMMIT: merge the image into its parent and
 *	go on in that
 * @size: bytes of this struct as the caller knows it
 * @flags: zero
 * @index: N of /dev/vhdN
 * @parent_fd: the file of the image's parent, open for reading and writing, to
 *	be used from then on
 * @reserved: zero
 * @pause_ns: out: how long writes had to wait at the end, in nanoseconds
 *
 * What the image has is copied to its parent while the device is in use; how far
 * it is tell merge_total and merge_left in sysfs.  At the end writes are held up
 * until the parent has everything, durably; then the image is marked as nobody's
 * child any more (its parent id becomes null), since its parent is going to be
 * written to, and the device goes on in the parent.  Both former descriptors are
 * closed.
 *
 * Until that mark is durable a signal (EINTR), an error or a crash leaves the
 * image on top of its parent as it was; the call can be made again, and begins
 * anew.  Who makes it sees to it that nobody else depends on the parent.
 * Meanwhile VHD_IOC_SET, VHD_IOC_SNAPSHOT and VHD_IOC_RESIZE are EINPROGRESS, this
 * call is EALREADY, and VHD_IOC_DETACH is EBUSY, or is deferred.  At the end there
 * is a change event as after VHD_IOC_SNAPSHOT.
 *
 * ENODEV no such device; EROFS attached read-only; EINVAL the image has no
 * parent, or it is another file, or smaller; EBUSY the parent is in use by
 * another device; EALREADY this call is under way, EINPROGRESS a VHD_IOC_COMPACT;
 * EINTR; ENOSPC and EIO of the parent; EIO the device has failed; and those of VHD_IOC_ATTACH.
 */
struct vhd_commit_args {
	__u32	size;
	__u32	flags;
	__s32	index;
	__s32	parent_fd;
	__u64	reserved;
	__u64	pause_ns;
};

/* vhd_resize_args.flags */
/* The disk may become smaller. */
#define VHD_RESIZE_SHRINK	(1U << 0)
/* Also if it is in use, and whatever is cut off. */
#define VHD_RESIZE_FORCE	(1U << 1)

#define VHD_RESIZE_FLAGS	0x3U

/**
 * struct vhd_resize_args - VHD_IOC_RESIZE: another size for the disk
 * @size: bytes of this struct as the caller knows it
 * @flags: VHD_RESIZE_*
 * @index: N of /dev/vhdN
 * @reserved: zero
 * @bytes: the new size of the disk, a multiple of its logical blocks
 *
 * The device may be in use.  Without VHD_RESIZE_FORCE a smaller disk must not be,
 * and no block that is cut off may be allocated; what is cut off of the last
 * block is for the caller to look at.  An error leaves the old size; if blocks
 * were to be cut off, they may read as zeros then.
 *
 * A differencing image can only become larger, and not while its parent is larger
 * than it is: that one's data would show.
 *
 * ENODEV no such device; EROFS read-only; EOPNOTSUPP a differencing image that
 * may not, or one of the geometry's size, or with a saved state, or a table of
 * blktap's that cannot move; EINVAL size; EFBIG more than an image can have; EBUSY
 * in use; EINPROGRESS a VHD_IOC_COMMIT or VHD_IOC_COMPACT is under way; ENOTEMPTY
 * allocated blocks would be cut off; EUCLEAN damaged ones; ENOSPC, ENOMEM, EIO.
 */
struct vhd_resize_args {
	__u32	size;
	__u32	flags;
	__s32	index;
	__u32	reserved;
	__u64	bytes;
};

/* vhd_compact_args.flags */
/* Also read what is no hole of the file, to find blocks of zeros. */
#define VHD_COMPACT_ZERO	(1U << 0)

#define VHD_COMPACT_FLAGS	0x1U

/**
 * struct vhd_compact_args - VHD_IOC_COMPACT: make the file as small as what it
 *	holds
 * @size: bytes of this struct as the caller knows it
 * @flags: VHD_COMPACT_*
 * @index: N of /dev/vhdN
 * @reserved: zero
 * @rate: bytes to be read and written in a second, at most; 0: no bound but that
 *	one transfer, of at most 64 KiB, is under way at a time
 * @dropped: out: blocks that have no slot any more
 * @moved: out: blocks that have another one
 *
 * The device may be in use.  Blocks of a dynamic image that read as zeros lose
 * their slots, of a differencing one those of which the image has nothing; then
 * the last blocks of the file move into free slots before them, and the file is
 * cut behind the last.  Writes to a block wait while it is looked at or moves.
 * How far it is tell compact_total and compact_left in sysfs.
 *
 * A signal (EINTR), an error or a crash leaves the image whole, each block at its
 * old or its new place; the call can be made again, and goes on.  Meanwhile
 * VHD_IOC_SET, VHD_IOC_SNAPSHOT, VHD_IOC_COMMIT and VHD_IOC_RESIZE are EINPROGRESS,
 * this call is EALREADY, and VHD_IOC_DETACH is EBUSY, or is deferred.
 *
 * ENODEV no such device; EROFS read-only; EOPNOTSUPP a fixed image; EALREADY this
 * call is under way; EINPROGRESS a VHD_IOC_COMMIT is; EINTR; ENOSPC, ENOMEM, EIO.
 */
struct vhd_compact_args {
	__u32	size;
	__u32	flags;
	__s32	index;
	__u32	reserved;
	__u64	rate;
	__u32	dropped;
	__u32	moved;
};

#define VHD_IOC_ATTACH	_IOWR(VHD_IOC_MAGIC, 0, struct vhd_attach_args)
#define VHD_IOC_DETACH	_IOWR(VHD_IOC_MAGIC, 1, struct vhd_detach_args)
#define VHD_IOC_SET	_IOWR(VHD_IOC_MAGIC, 2, struct vhd_set_args)
#define VHD_IOC_SNAPSHOT _IOWR(VHD_IOC_MAGIC, 3, struct vhd_snapshot_args)
#define VHD_IOC_COMMIT	_IOWR(VHD_IOC_MAGIC, 4, struct vhd_commit_args)
#define VHD_IOC_RESIZE	_IOWR(VHD_IOC_MAGIC, 5, struct vhd_resize_args)
#define VHD_IOC_COMPACT	_IOWR(VHD_IOC_MAGIC, 6, struct vhd_compact_args)

#endif /* _UAPI_LINUX_VHD_H */
