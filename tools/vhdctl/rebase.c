// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>

#include "chain.h"
#include "meter.h"
#include "relink.h"
#include "report.h"
#include "vhdctl.h"

enum {
	OPT_UNSAFE = OPT_LONG,
	OPT_ABSOLUTE,
};

static const struct option options[] = {
	{ "unsafe", no_argument, NULL, OPT_UNSAFE },
	{ "parent", required_argument, NULL, OPT_PARENT },
	{ "absolute", no_argument, NULL, OPT_ABSOLUTE },
	COMMON_OPTIONS
};

static const char help[] =
	"rebase [OPTION...] --parent PARENT CHILD\n"
	"\n"
	"Give a differencing image another parent. What differs between the old\n"
	"and the new one is written into CHILD first, so that it shows the same as\n"
	"before. Interrupted, it can be done again.\n"
	"\n"
	"     --parent PARENT         the new parent\n"
	"     --unsafe                only tell CHILD where its parent is and which\n"
	"                             id it has: after it was moved, or if the two\n"
	"                             are the same\n"
	"     --absolute              tell CHILD only the absolute path\n";

/** struct wish - the options as given */
struct wish {
	const char *parent;
	bool unsafe;
	bool absolute;
};

/* The new parents must not depend on the image that is to depend on them. */
static int check_circle(const struct vhd_file *child,
			const struct vhd_layers *to)
{
	unsigned int i;

	for (i = 0; i < to->nr; i++) {
		if (to->layers[i]->dev != child->dev ||
		    to->layers[i]->ino != child->ino)
			continue;
		error_msg(child->path, "cannot be its own parent: \"%s\" depends on it",
			  to->layers[0]->path);
		return VHDCTL_BAD;
	}
	if (to->nr < VHD_LAYERS_MAX)
		return VHDCTL_OK;
	error_msg(to->layers[0]->path, "has %u parents already, the most there can be",
		  VHD_LAYERS_MAX - 1);
	return VHDCTL_BAD;
}

/* To be looked at only when nobody else can write to it. */
static int load_child(struct vhd_file *f)
{
	int err;

	if (file_lock(f, true))
		return VHDCTL_BUSY;
	err = vhd_file_load(f, VHD_OPEN_WRITE);
	if (err)
		return report_load(f, err);
	if (f->image.type == VHD_TYPE_DIFFERENCING)
		return VHDCTL_OK;
	error_msg(f->path, "is a %s image: it has no parent",
		  type_name(f->image.type));
	return VHDCTL_BAD;
}

static int keep_content(struct vhd_layers *c, struct vhd_layers *to)
{
	int code, err;

	code = chain_parents(c, NULL, 0);
	if (!code)
		code = chain_lock(c, 1);
	if (code)
		return code;
	meter_start("rebasing", true);
	err = vhd_rebase(c, to);
	meter_stop(!err);
	if (err == -EINTR) {
		error_msg(c->layers[0]->path, "interrupted: it has its old parent and shows what it did");
		return VHDCTL_BAD;
	}
	return err ? error_errno(c->layers[0]->path, "cannot rebase", err) :
		     VHDCTL_OK;
}

static int rebase(const char *path, const struct wish *w)
{
	struct vhd_layers c, to;
	struct vhd_file *child;
	int code, err;

	code = relink_recover(path);
	if (code)
		return code;
	vhd_layers_init(&c);
	vhd_layers_init(&to);
	child = chain_push_new(&c);
	err = vhd_file_open(child, path, true);
	code = err ? report_open(child, path, err) : VHDCTL_OK;
	if (!code)
		code = chain_open(&to, w->parent, NULL, 0);
	if (!code)
		code = check_circle(child, &to);
	if (!code)
		code = load_child(child);
	if (!code)
		code = chain_lock(&to, 0);
	if (!code && !w->unsafe)
		code = keep_content(&c, &to);
	if (!code)
		code = relink(child, to.layers[0], w->absolute);
	vhd_layers_close(&to);
	vhd_layers_close(&c);
	return code;
}

static int run_rebase(int argc, char **argv)
{
	struct wish w = { };
	int c;

	while ((c = next_option(&cmd_rebase, argc, argv, COMMON_SHORT,
				options)) != -1) {
		if (c == OPT_PARENT)
			w.parent = optarg;
		w.unsafe |= c == OPT_UNSAFE;
		w.absolute |= c == OPT_ABSOLUTE;
	}
	if (argc - optind != 1)
		return usage_error(&cmd_rebase, "expected one CHILD");
	if (!w.parent)
		return usage_error(&cmd_rebase, "--parent is needed");
	return rebase(argv[optind], &w);
}

const struct command cmd_rebase = {
	.name = "rebase",
	.brief = "give a differencing image another parent",
	.help = help,
	.run = run_rebase,
};
