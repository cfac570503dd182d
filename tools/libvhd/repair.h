/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mending an image.
 *
 * What is done here loses nothing that can be read, guesses nothing, and can be
 * taken back (undo.h).  What loses something is only done by name.
 */
#ifndef _LIBVHD_REPAIR_H
#define _LIBVHD_REPAIR_H

#include "check.h"
#include "undo.h"

/** enum vhd_repair_part - what may be written; in the order it is done */
enum vhd_repair_part {
	VHD_REPAIR_FOOTER	= 1 << 0,
	VHD_REPAIR_HEADER	= 1 << 1,
	VHD_REPAIR_BAT		= 1 << 2,
	VHD_REPAIR_BITMAP	= 1 << 3,
	VHD_REPAIR_TAIL		= 1 << 4,
	VHD_REPAIR_ALL		= (1 << 5) - 1,
};

/** enum vhd_repair_choice - which of two good footers is right */
enum vhd_repair_choice {
	VHD_CHOOSE_NONE,
	VHD_CHOOSE_HEAD,
	VHD_CHOOSE_TAIL,
};

/**
 * struct vhd_repair_info - what a repair does about findings of one code
 * @part: who does it; 0: nobody
 * @named: only when that part is asked for by name
 * @text: what is done; NULL if nothing can be
 */
struct vhd_repair_info {
	enum vhd_repair_part part;
	bool named;
	const char *text;
};

const struct vhd_repair_info *vhd_repair_info(enum vhd_finding_code code);

/**
 * struct vhd_repair - a repair
 * @parts: of enum vhd_repair_part: what may be done
 * @named: those that were asked for by name
 * @choice: which footer is right, where both are good and differ
 * @tell: told what is changed, and where in the file; or NULL
 * @changes: how many there were
 * @check: of the stage that is being done
 * @marks: what is wrong with each block, in this stage
 * @nr_marks: behind the last block with which something is
 *
 * Large: not for the stack.
 */
struct vhd_repair {
	unsigned int parts;
	unsigned int named;
	enum vhd_repair_choice choice;
	void (*tell)(const char *what, u64 pos);

	u64 changes;
	struct vhd_undo undo;
	struct vhd_file *file;
	struct vhd_check check;
	u8 *marks;
	u32 nr_marks;
};

/**
 * vhd_repair - mend what can be
 * @f: open for writing, locked, not loaded; not loaded afterwards
 *
 * After an interruption at any point another run goes on; what was overwritten
 * is in the undo file.  Return: 0 if nothing failed, whether or not there was
 * something to do; -EEXIST if the undo file exists already; another negative
 * errno.
 */
int vhd_repair(struct vhd_repair *r, struct vhd_file *f, const char *undo);

#endif /* _LIBVHD_REPAIR_H */
