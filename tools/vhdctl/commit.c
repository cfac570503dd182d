// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <uuid.h>

#include "chain.h"
#include "live.h"
#include "merge.h"
#include "meter.h"
#include "report.h"
#include "vhdctl.h"

enum {
	OPT_DEPTH = OPT_LONG,
	OPT_INTO,
	OPT_KEEP,
	OPT_FORCE,
};

static const struct option options[] = {
	{ "depth", required_argument, NULL, OPT_DEPTH },
	{ "into", required_argument, NULL, OPT_INTO },
	{ "keep", no_argument, NULL, OPT_KEEP },
	{ "force", no_argument, NULL, OPT_FORCE },
	PARENT_OPTIONS
	COMMON_OPTIONS
};

static const char help[] =
	"commit [OPTION...] IMAGE|DEVICE\n"
	"\n"
	"Merge a differencing image into its parent, which then shows what IMAGE\n"
	"did, and remove IMAGE. It stays whole until the end: interrupted anywhere,\n"
	"the same command goes on (or, with --depth, tells how if it was already\n"
	"removing what lay between).\n"
	"A DEVICE is merged while it is in use, and goes on in the parent; how\n"
	"long writes had to wait at the end is printed. Interrupted, it goes on in\n"
	"its image.\n"
	"\n"
	"     --depth N               into the N-th ancestor, with all that are\n"
	"                             between; 1, the parent, is the default\n"
	"     --into FILE             into this ancestor, or a new dynamic image that\n"
	"                             needs no parent; then nothing is removed\n"
	"     --keep                  remove nothing: IMAGE becomes a child of what\n"
	"                             it was merged into (of a DEVICE it is not: the\n"
	"                             parent is written to)\n"
	"     --force                 although other images depend on what is changed\n"
	"                             and will be spoiled, or space may be short\n"
	PARENT_HELP;

/** struct wish - the options as given */
struct wish {
	unsigned long depth;
	const char *into;
	bool keep;
	bool force;
	struct vhd_parent_options parents;
};

/* ---- before ---------------------------------------------------------- */

/* Which layer is --into, if it is one. */
static void find_into(struct wish *w, const struct vhd_layers *c)
{
	struct stat st;
	unsigned int i;

	if (!w->into || stat(w->into, &st))
		return;
	for (i = 1; i < c->nr; i++) {
		if (c->layers[i]->dev != st.st_dev ||
		    c->layers[i]->ino != st.st_ino)
			continue;
		w->depth = i;
		w->into = NULL;
		return;
	}
}

static int check_depth(const struct wish *w, const struct vhd_layers *c)
{
	const struct vhd_file *top = c->layers[0], *target;

	if (c->nr == 1) {
		error_msg(top->path, "is a %s image: it has no parent to be merged into",
			  type_name(top->image.type));
		return VHDCTL_BAD;
	}
	if (w->depth >= c->nr) {
		error_msg(top->path, "--depth: found %lu, it has %u ancestors (a commit that was cut short while it removed images goes on with --force --into)",
			  w->depth, c->nr - 1);
		return VHDCTL_BAD;
	}
	target = c->layers[w->depth];
	if (w->into || target->image.size >= top->image.size)
		return VHDCTL_OK;
	error_msg(target->path, "is smaller than what is to be merged into it: found %llu, expected at least %llu; resize it first",
		  (unsigned long long)target->image.size,
		  (unsigned long long)top->image.size);
	return VHDCTL_BAD;
}

/* Whose parent is about to change under them? */
static int check_children(const struct wish *w, const struct vhd_layers *c)
{
	unsigned int i;
	int code = VHDCTL_OK;

	for (i = 0; i <= w->depth && !code; i++)
		code = refuse_children(c->layers[i], c, w->force);
	return code;
}

/* A layer, now for writing.  It must be the same file. */
static int reopen(struct vhd_layers *c, unsigned int n)
{
	struct vhd_file *f = c->layers[n];
	char *path = strdup(f->path);
	dev_t dev = f->dev;
	ino_t ino = f->ino;
	int code, err;

	if (!path)
		return error_errno(f->path, "cannot open", -ENOMEM);
	vhd_layers_changed(c);
	vhd_file_close(f);
	err = vhd_file_open(f, path, true);
	code = err ? report_open(f, path, err) : VHDCTL_OK;
	if (!code && (f->dev != dev || f->ino != ino)) {
		error_msg(path, "was replaced meanwhile");
		code = VHDCTL_BUSY;
	}
	if (!code)
		code = file_lock(f, true);
	if (!code) {
		err = vhd_file_load(f, VHD_OPEN_WRITE);
		code = err ? report_load(f, err) : VHDCTL_OK;
	}
	free(path);
	return code;
}

/* -ENOSPC, told, if the target cannot grow as it may have to. */
static int check_space(const struct wish *w, struct vhd_merge *m,
		       const char *path)
{
	struct statvfs vfs;
	u64 need, have;
	int err = vhd_merge_space(m, &need);

	if (err || fstatvfs(m->target->fd, &vfs))
		return err;
	have = (u64)vfs.f_bavail * vfs.f_frsize;
	if (need <= have || w->force)
		return 0;
	error_msg(path, "needs up to %llu bytes more, and there are %llu; --force tries",
		  (unsigned long long)need, (unsigned long long)have);
	return -ENOSPC;
}

/* ---- after ----------------------------------------------------------- */

/*
 * What was merged goes, the top last: as long as it is there, it shows that the
 * target is not free for others.
 */
static int remove_layers(const struct vhd_layers *c, unsigned int depth)
{
	int code = VHDCTL_OK;

	while (depth-- && !code)
		code = file_remove(c->layers[depth]->path);
	return code;
}

/* ---- the merge ------------------------------------------------------- */

static int merge(const struct wish *w, struct vhd_merge *m)
{
	int err = check_space(w, m, m->target->path);

	if (err == -ENOSPC)
		return VHDCTL_RESOURCE;
	if (err)
		return error_errno(m->c->layers[0]->path, "cannot read", err);
	meter_start("merging", true);
	err = vhd_merge_run(m);
	meter_stop(!err);
	if (err == -EINTR) {
		error_msg(m->c->layers[0]->path, "interrupted: it is whole; the same command goes on");
		return VHDCTL_BAD;
	}
	return err ? error_errno(m->target->path, "cannot merge", err) :
		     VHDCTL_OK;
}

/* Its parent is what was merged into: so it stays whole without the others. */
static int hang_top(struct vhd_layers *c, unsigned int depth)
{
	int code = reopen(c, 0);

	return code ? code : relink(c->layers[0], c->layers[depth], false);
}

static int merge_down(const struct wish *w, struct vhd_layers *c)
{
	struct vhd_merge m = {
		.c = c,
		.depth = w->depth,
		.target = c->layers[w->depth],
	};
	int code;

	code = check_children(w, c);
	if (!code)
		code = reopen(c, w->depth);
	if (!code)
		code = merge(w, &m);
	if (!code && (w->keep || w->depth > 1))
		code = hang_top(c, w->depth);
	if (!code && !w->keep)
		code = remove_layers(c, w->depth);
	return code;
}

/** struct fill - a new image to be filled; @short_of: space, which was told */
struct fill {
	const struct wish *wish;
	struct vhd_merge merge;
	bool short_of;
};

/* The new image gets its name when this has come to its end. */
static int fill_new(int fd, void *arg)
{
	struct fill *fill = arg;
	struct vhd_file *f = fill->merge.target;
	int err;

	fd = dup(fd);
	if (fd < 0)
		return -errno;
	err = vhd_file_adopt(f, fd, fill->wish->into);
	if (!err)
		err = vhd_file_load(f, VHD_OPEN_WRITE);
	if (!err) {
		err = check_space(fill->wish, &fill->merge, fill->wish->into);
		fill->short_of = err == -ENOSPC;
	}
	if (!err) {
		meter_start("merging", true);
		err = vhd_merge_run(&fill->merge);
		meter_stop(!err);
	}
	vhd_file_close(f);
	return err;
}

static int merge_new(const struct wish *w, struct vhd_layers *c)
{
	const struct vhd_image *top = &c->layers[0]->image;
	struct vhd_file target;
	struct fill fill = {
		.wish = w,
		.merge = { .c = c, .depth = c->nr, .target = &target },
	};
	struct vhd_create create = {
		.image.type = VHD_TYPE_DYNAMIC,
		.image.size = top->size,
		.image.block_size = vhd_block_bytes(top),
		.fill = fill_new,
		.fill_arg = &fill,
	};
	int err;

	uuid_generate(create.image.unique_id);
	err = vhd_create(w->into, &create);
	if (err == -EINTR)
		error_msg(w->into, "interrupted: it was not made");
	else if (err == -EEXIST)
		error_msg(w->into, "exists and is none of the image's ancestors");
	else if (fill.short_of)
		return VHDCTL_RESOURCE;
	else if (err)
		return error_errno(w->into, "cannot create", err);
	return err == -EEXIST ? VHDCTL_BUSY : err ? VHDCTL_BAD : VHDCTL_OK;
}

static int commit_image(const char *path, struct wish *w)
{
	struct vhd_layers c;
	int code = relink_recover(path);

	if (code)
		return code;
	code = chain_open(&c, path, &w->parents, 0);
	if (!code)
		find_into(w, &c);
	if (!code)
		code = check_depth(w, &c);
	if (!code)
		chain_warn(&c);
	if (!code)
		code = chain_lock(&c, 0);
	if (!code)
		code = w->into ? merge_new(w, &c) : merge_down(w, &c);
	vhd_layers_close(&c);
	return code;
}

static int one_option(struct wish *w, int c)
{
	char *end;

	switch (c) {
	case OPT_DEPTH:
		w->depth = strtoul(optarg, &end, 10);
		if (!w->depth || *end || *optarg == '-')
			return usage_error(&cmd_commit,
					   "--depth: found \"%s\", expected 1 or more",
					   optarg);
		break;
	case OPT_INTO:
		w->into = optarg;
		break;
	case OPT_KEEP:
		w->keep = true;
		break;
	case OPT_FORCE:
		w->force = true;
		break;
	default:
		parent_option(&w->parents, c, optarg);
	}
	return VHDCTL_OK;
}

static int run_commit(int argc, char **argv)
{
	struct wish w = { };
	int c, code;

	while ((c = next_option(&cmd_commit, argc, argv, COMMON_SHORT,
				options)) != -1)
		if (one_option(&w, c))
			return VHDCTL_USAGE;
	if (argc - optind != 1)
		return usage_error(&cmd_commit, "expected one IMAGE");
	if (w.depth && w.into)
		return usage_error(&cmd_commit, "--depth or --into, not both");
	if (!w.depth)
		w.depth = 1;
	if (!is_device(argv[optind]))
		code = commit_image(argv[optind], &w);
	else if (w.depth > 1 || w.into)
		code = usage_error(&cmd_commit,
				   "a device is merged into its parent; no --depth or --into");
	else
		code = commit_device(argv[optind], w.keep, w.force);
	parent_options_free(&w.parents);
	return code;
}

const struct command cmd_commit = {
	.name = "commit",
	.brief = "merge a differencing image into its parent",
	.help = help,
	.run = run_commit,
};
