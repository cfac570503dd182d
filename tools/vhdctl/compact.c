// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "compact.h"
#include "disk.h"
#include "meter.h"
#include "report.h"
#include "vhdctl.h"

enum {
	OPT_ZERO = OPT_LONG,
};

static const struct option options[] = {
	{ "zero", no_argument, NULL, OPT_ZERO },
	COMMON_OPTIONS
};

static const char help[] =
	"compact [--zero] IMAGE\n"
	"\n"
	"Make an image file as small as what it holds: drop blocks that are holes of\n"
	"the file, move the last blocks into the gaps, cut the rest off.  Whatever\n"
	"interrupts this, the image holds the same, and another run goes on.  The\n"
	"image must not be attached.\n"
	"\n"
	"     --zero                  read everything, and drop blocks of zeros too\n";

static int report_compact(const char *path, int err)
{
	if (err != -EINTR)
		return error_errno(path, "cannot compact", err);
	error_msg(path, "interrupted; the image is sound, and another run goes on");
	return VHDCTL_BAD;
}

static u64 file_size(const struct vhd_file *f)
{
	struct stat st;

	return fstat(f->fd, &st) ? 0 : st.st_size;
}

static int compact(struct vhd_compact *c)
{
	struct vhd_file *f = &c->source->file;
	char before[16], after[16];
	int err;

	if (!f->image.bat) {
		error_msg(f->path, "is a fixed image: nothing to compact");
		return VHDCTL_BAD;
	}
	meter_start("compacting", false);
	err = vhd_compact(c);
	meter_stop(!err);
	if (err)
		return report_compact(f->path, err);
	verbose_msg(f->path, "%u blocks dropped, %u moved; the file has %s, had %s",
		    c->dropped, c->moved,
		    format_size(file_size(f), after, sizeof(after)),
		    format_size(f->size, before, sizeof(before)));
	return VHDCTL_OK;
}

static int run_compact(int argc, char **argv)
{
	struct vhd_compact c = { };
	int o, code;

	while ((o = next_option(&cmd_compact, argc, argv, COMMON_SHORT,
				options)) != -1)
		c.zero = true;
	if (argc - optind != 1)
		return usage_error(&cmd_compact, "expected one IMAGE");
	c.source = calloc(1, sizeof(*c.source));
	if (!c.source)
		return error_errno(argv[optind], "cannot open", -ENOMEM);
	code = open_exclusive(c.source, argv[optind]);
	if (!code)
		code = compact(&c);
	vhd_source_close(c.source);
	free(c.source);
	return code;
}

const struct command cmd_compact = {
	.name = "compact",
	.brief = "make an image file as small as what it holds",
	.help = help,
	.run = run_compact,
};
