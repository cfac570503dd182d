// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/minmax.h>

#include "chain.h"
#include "disk.h"
#include "io.h"
#include "load.h"
#include "meter.h"
#include "progress.h"
#include "report.h"
#include "resize.h"
#include "resize_device.h"
#include "space.h"
#include "vhdctl.h"

#define PIECE		(1U << 20)

enum {
	OPT_SHRINK = OPT_LONG,
	OPT_FORCE,
};

static const struct option options[] = {
	{ "shrink", no_argument, NULL, OPT_SHRINK },
	{ "force", no_argument, NULL, OPT_FORCE },
	PARENT_OPTIONS
	COMMON_OPTIONS
};

static const char help[] =
	"resize [OPTION...] IMAGE|DEVICE SIZE\n"
	"\n"
	"Make the disk larger, or smaller.  What is on it, partitions and file systems,\n"
	"does not change: a file system must be made smaller before the disk is, and\n"
	"can be made larger after it.  The image must not be the parent of another\n"
	"one; while it is attached give the DEVICE, which may be in use.  A\n"
	"differencing image can only become larger, and not while its parent is larger\n"
	"than it is.\n"
	"\n"
	"     --shrink                SIZE may be smaller; what is cut off must be zeros\n"
	"     --force                 whatever is cut off, and whoever depends on it or\n"
	"                             uses it\n"
	"\n"
	"The parents of a differencing image:\n"
	PARENT_HELP;

/* ---- what is cut off ------------------------------------------------- */

/* The first byte from @pos on that is not zero; the disk's end if there is none */
static int find_data(struct vhd_source *s, struct vhd_load *l, u64 *pos)
{
	u64 at;
	u32 i;
	int err;

	for (at = *pos; at < s->size; at += l->len) {
		if (vhd_interrupted)
			return -EINTR;
		err = vhd_load_map(l, s, at, min_t(u64, s->size - at, PIECE));
		if (!err && l->nr_runs)
			err = vhd_load_read(l, s);
		if (err)
			return err;
		vhd_progress_add(l->len);
		if (!l->nr_runs || vhd_all_zero(l->data, PIECE))
			continue;
		for (i = 0; !l->data[i]; i++)
			;
		*pos = at + i;
		return 0;
	}
	*pos = s->size;
	return 0;
}

static int check_cut(const struct wish *w, struct vhd_source *s)
{
	const char *path = s->file.path;
	struct vhd_load l;
	u64 pos = w->size;
	int err;

	err = vhd_load_init(&l, PIECE);
	if (!err) {
		meter_start("looking at what is cut off", true);
		vhd_progress_begin(s->size - w->size);
		err = find_data(s, &l, &pos);
		meter_stop(!err);
		vhd_load_free(&l);
	}
	if (err)
		return error_errno(path, "cannot read", err);
	if (pos == s->size)
		return VHDCTL_OK;
	error_msg(path, "has data behind the new end, at %llu; make the file system smaller first, or --force loses them",
		  (unsigned long long)pos);
	return VHDCTL_BAD;
}

static int check_smaller(const struct wish *w, struct vhd_source *s)
{
	if (!w->shrink) {
		error_msg(s->file.path, "has %llu bytes, more than %llu: --shrink makes it smaller",
			  (unsigned long long)s->size,
			  (unsigned long long)w->size);
		return VHDCTL_USAGE;
	}
	return w->force ? VHDCTL_OK : check_cut(w, s);
}

/* ---- what is below it ------------------------------------------------ */

/*
 * What a differencing image does not have its parent shows: behind the old end
 * it must have nothing.
 */
static int check_parent(const struct wish *w, struct vhd_source *s)
{
	const char *path = s->file.path;
	const struct vhd_file *parent;
	int code;

	if (w->size < s->size) {
		error_msg(path, "is a differencing image, which can only become larger: if it did so again, what its parent has there would show");
		return VHDCTL_BAD;
	}
	s->chained = true;
	code = chain_open(&s->layers, path, &w->parents, 0);
	if (!code)
		code = chain_lock(&s->layers, 1);
	if (code)
		return code;
	parent = s->layers.layers[1];
	if (parent->image.size > s->size) {
		error_msg(path, "its parent \"%s\" has %llu bytes, more than it has: what is there would show; commit or convert it",
			  parent->path,
			  (unsigned long long)parent->image.size);
		return VHDCTL_BAD;
	}
	if (parent->image.size != w->size)
		warning_msg(path, "will have another size than its parent: Windows will refuse it");
	return VHDCTL_OK;
}

/* A --parent that is nobody's is a mistake. */
static int check_below(const struct wish *w, struct vhd_source *s)
{
	if (s->file.image.type == VHD_TYPE_DIFFERENCING)
		return check_parent(w, s);
	if (!w->parents.nr_files)
		return VHDCTL_OK;
	return usage_error(&cmd_resize,
			   "--parent: \"%s\" is no differencing image",
			   s->file.path);
}

/* ---- what is on it --------------------------------------------------- */

static bool has_gpt(struct vhd_source *s)
{
	u8 buf[VHD_SECTOR_SIZE];
	struct vhd_piece p;

	if (s->size < 2 * sizeof(buf) ||
	    vhd_source_map(s, sizeof(buf), sizeof(buf), &p) || p.zero ||
	    vhd_piece_read(s, &p, buf, sizeof(buf)))
		return false;
	return !memcmp(buf, "EFI PART", 8);
}

static void tell_rest(const struct wish *w, struct vhd_source *s, bool gpt,
		      u64 old)
{
	const char *path = s->file.path;

	verbose_msg(path, "%llu bytes, had %llu", (unsigned long long)w->size,
		    (unsigned long long)old);
	if (gpt)
		warning_msg(path, "the second copy of the GPT is not at the end any more: when attached, sgdisk -e DEVICE moves it");
	if (verbosity >= 0 && w->size > old)
		error_msg(path, "larger; partitions and file systems are as they were: grow them when it is attached (growpart, resize2fs, xfs_growfs)");
}

/* ---- doing it -------------------------------------------------------- */

static int resize_error(struct vhd_source *s, int err)
{
	const char *path = s->file.path;

	if (err == -EOPNOTSUPP) {
		error_msg(path, "is an image of blktap, whose batmap is in the table's way; convert it");
		return VHDCTL_BAD;
	}
	if (err == -EFBIG) {
		error_msg(path, "a dynamic image has at most 2040 GiB");
		return VHDCTL_USAGE;
	}
	return error_errno(path, "cannot resize", err);
}

static int run_plan(const struct wish *w, struct vhd_source *s)
{
	struct vhd_resize *r = calloc(1, sizeof(*r));
	int err = -ENOMEM;

	if (r) {
		err = vhd_resize_init(r, &s->file.image, w->size);
		if (!err)
			err = vhd_run_plan(s->file.fd, &r->plan);
		vhd_resize_end(r);
	}
	free(r);
	return err;
}

/* Blocks that were cut off may have been the last of the file. */
static int tighten(const char *path)
{
	struct vhd_source *s = calloc(1, sizeof(*s));
	int code, err;

	if (!s)
		return error_errno(path, "cannot tighten", -ENOMEM);
	code = open_exclusive(s, path);
	err = code ? 0 : vhd_file_finish(&s->file);
	if (err)
		code = error_errno(path, "cannot tighten", err);
	vhd_source_close(s);
	free(s);
	return code;
}

static int resize(const struct wish *w, struct vhd_source *s, const char *path)
{
	u64 old = s->size;
	bool gpt;
	int err, code;

	if (w->size == old)
		return VHDCTL_OK;
	code = check_below(w, s);
	if (!code && w->size < old)
		code = check_smaller(w, s);
	if (!code)
		code = refuse_children(&s->file, NULL, w->force);
	if (code)
		return code;
	gpt = has_gpt(s);
	err = run_plan(w, s);
	if (err)
		return resize_error(s, err);
	tell_rest(w, s, gpt, old);
	return VHDCTL_OK;
}

static int resize_image(const struct wish *w, const char *path)
{
	struct vhd_source *s = calloc(1, sizeof(*s));
	bool shrinks;
	int code;

	if (!s)
		return error_errno(path, "cannot open", -ENOMEM);
	code = open_exclusive(s, path);
	if (!code)
		code = resize(w, s, path);
	shrinks = !code && s->file.image.bat && w->size < s->size;
	vhd_source_close(s);
	free(s);
	return shrinks ? tighten(path) : code;
}

static int size_argument(struct wish *w, const char *arg)
{
	int err = parse_size(arg, &w->size);

	if (err)
		return usage_error(&cmd_resize, "SIZE: \"%s\" is %s", arg,
				   err == -ERANGE ? "too large" : "not a size");
	if (!w->size || w->size % VHD_SECTOR_SIZE)
		return usage_error(&cmd_resize,
				   "SIZE: found %llu, expected a multiple of 512",
				   (unsigned long long)w->size);
	return VHDCTL_OK;
}

static int run_resize(int argc, char **argv)
{
	struct wish w = { };
	int c, code;

	while ((c = next_option(&cmd_resize, argc, argv, COMMON_SHORT,
				options)) != -1) {
		if (c == OPT_SHRINK)
			w.shrink = true;
		else if (!parent_option(&w.parents, c, optarg))
			w.force = true;
	}
	if (argc - optind != 2)
		return usage_error(&cmd_resize, "expected IMAGE or DEVICE, and SIZE");
	if (size_argument(&w, argv[optind + 1]))
		return VHDCTL_USAGE;
	code = is_device(argv[optind]) ? resize_device(&w, argv[optind]) :
					 resize_image(&w, argv[optind]);
	parent_options_free(&w.parents);
	return code;
}

const struct command cmd_resize = {
	.name = "resize",
	.brief = "make a disk larger or smaller",
	.help = help,
	.run = run_resize,
};
