/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Plans: how the core has I/O done without doing any.
 *
 * A plan is a generator of I/O steps.  Whoever runs it (the module with
 * kiocbs, the tool with pread and pwrite, the crash simulator with an array)
 * asks for the next step, does it, and asks again, handing in what went wrong:
 *
 *	err = 0;
 *	while ((ret = vhd_plan_next(plan, err, &io)) > 0)
 *		err = do_io(&io);
 *
 * One runner at a time drives a plan; which context that may be is said where
 * the plan is declared.  A runner must follow a plan to its end (ret <= 0):
 * that is where the plan releases what it took.
 */
#ifndef _VHD_CORE_PLAN_H
#define _VHD_CORE_PLAN_H

#include <linux/types.h>

/**
 * enum vhd_io_kind - what one step of a plan asks for
 * @VHD_IO_READ: read @len bytes at @pos into @buf; what lies beyond the end of
 *	the file reads as zeros
 * @VHD_IO_WRITE: write @len bytes at @pos from @buf; extends the file.  Writes
 *	between two flushes may be done in any order and at the same time; @buf
 *	is valid until the next step is asked for.
 * @VHD_IO_ZERO: make @len bytes at @pos read as zeros, giving the space back or
 *	not
 * @VHD_IO_RESERVE: reserve space for @len bytes at @pos without changing the
 *	file's size or content; -EOPNOTSUPP is a good answer
 * @VHD_IO_TRUNCATE: cut the file to @pos bytes; never of a device
 * @VHD_IO_FLUSH: wait for all writes above, then make everything durable.  One
 *	at a time for an image, whatever the plan, and its error is handed in
 *	before the next one begins.
 * @VHD_IO_SEEK: find the first data of the @len bytes at @pos: @buf points at a
 *	struct vhd_span, which says that all of them are data, and is made to say
 *	which are; those before are a hole.  An error is a good answer.
 * @VHD_IO_DISCARD: give the space of @len bytes at @pos back, whatever they read
 *	as afterwards; of a device only
 */
enum vhd_io_kind {
	VHD_IO_READ,
	VHD_IO_WRITE,
	VHD_IO_ZERO,
	VHD_IO_RESERVE,
	VHD_IO_TRUNCATE,
	VHD_IO_FLUSH,
	VHD_IO_SEEK,
	VHD_IO_DISCARD,
};

/**
 * struct vhd_io - one step
 * @kind: what is to be done
 * @pos: byte offset in the backing file
 * @len: bytes; at most VHD_IO_MAX for READ and WRITE
 * @buf: of the caller of the plan or of the plan
 * @pad: of WRITE: so many bytes before @pos are nobody's, and may be made zeros
 *	with the write, since a file system likes whole blocks
 */
struct vhd_io {
	enum vhd_io_kind kind;
	u64 pos;
	u64 len;
	void *buf;
	u32 pad;
};

#define VHD_IO_MAX	65536U

/**
 * struct vhd_span - data of a file, as VHD_IO_SEEK finds it
 * @pos: the first byte
 * @end: behind the last; without any data both are the end of the range
 */
struct vhd_span {
	u64 pos;
	u64 end;
};

/** vhd_io_set - fill a step in; returns 1, as a plan does that has one */
static inline int vhd_io_set(struct vhd_io *io, enum vhd_io_kind kind, u64 pos,
			     u64 len, void *buf)
{
	io->kind = kind;
	io->pos = pos;
	io->len = len;
	io->buf = buf;
	io->pad = 0;
	return 1;
}

/**
 * struct vhd_plan - base of every plan
 * @next: see vhd_plan_next()
 * @side_by_side: a runner may ask for the next step before a write has ended; it
 *	waits for all of them before it does anything else, and before it hands an
 *	error in, which may then be one of theirs in place of the step asked for.
 *	Set by the plan.
 * @unflushed: the error that is handed in is that of a write, and the flush asked
 *	for has not been done.  Set by such a runner.
 */
struct vhd_plan {
	int (*next)(struct vhd_plan *plan, int err, struct vhd_io *io);
	bool side_by_side;
	bool unflushed;
};

/**
 * vhd_plan_next - ask for the next step
 * @plan: the plan
 * @err: 0 or the negative errno of the step before (or of any write since the
 *	last flush, where they are done side by side)
 * @io: filled in when there is a step to do
 *
 * Return: 1 and a step in @io; 0 when the plan has succeeded; a negative errno
 * when it has failed.  After 0 or an error the plan must not be asked again.
 */
static inline int vhd_plan_next(struct vhd_plan *plan, int err,
				struct vhd_io *io)
{
	return plan->next(plan, err, io);
}

#endif /* _VHD_CORE_PLAN_H */
