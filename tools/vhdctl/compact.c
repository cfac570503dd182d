// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "chain.h"
#include "compact.h"
#include "compact_device.h"
#include "disk.h"
#include "meter.h"
#include "report.h"
#include "vhdctl.h"

enum {
	OPT_ZERO = OPT_LONG,
	OPT_RATE,
};

static const struct option options[] = {
	{ "zero", no_argument, NULL, OPT_ZERO },
	{ "rate", required_argument, NULL, OPT_RATE },
	COMMON_OPTIONS
};

static const char help[] =
	"compact [--zero] [--rate SIZE] IMAGE|DEVICE\n"
	"\n"
	"Make an image file as small as what it holds: drop blocks that are holes of\n"
	"the file, move the last blocks into the gaps, cut the rest off.  Whatever\n"
	"interrupts this, the image holds the same, and another run goes on.  A DEVICE\n"
	"is compacted while it is in use.\n"
	"\n"
	"     --zero                  read everything, and drop blocks of zeros too\n"
	"     --rate SIZE             of a DEVICE: read and write so much in a second, at\n"
	"                             most; without it one transfer at a time is the bound\n";

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

static void tell_result(const struct vhd_compact *c, u64 size)
{
	const struct vhd_file *f = &c->source->file;
	char before[16], after[16];

	if (f->image.on_device)
		verbose_msg(f->path, "%u blocks dropped, %u moved; %s of the device are in use",
			    c->dropped, c->moved,
			    format_size(f->image.space.data_end, after,
					sizeof(after)));
	else
		verbose_msg(f->path, "%u blocks dropped, %u moved; the file has %s, had %s",
			    c->dropped, c->moved,
			    format_size(file_size(f), after, sizeof(after)),
			    format_size(size, before, sizeof(before)));
}

static int compact(struct vhd_compact *c)
{
	struct vhd_file *f = &c->source->file;
	u64 size = f->size;
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
	tell_result(c, size);
	return VHDCTL_OK;
}

static int compact_image(const char *path, bool zero)
{
	struct vhd_compact c = { .zero = zero };
	int code;

	c.source = calloc(1, sizeof(*c.source));
	if (!c.source)
		return error_errno(path, "cannot open", -ENOMEM);
	code = open_exclusive(c.source, path);
	if (!code)
		code = compact(&c);
	vhd_source_close(c.source);
	free(c.source);
	return code;
}

static int run_compact(int argc, char **argv)
{
	bool zero = false;
	u64 rate = 0;
	int o;

	while ((o = next_option(&cmd_compact, argc, argv, COMMON_SHORT,
				options)) != -1) {
		if (o == OPT_ZERO)
			zero = true;
		else if (parse_size(optarg, &rate) || !rate)
			return usage_error(&cmd_compact,
					   "--rate: found \"%s\", expected a size",
					   optarg);
	}
	if (argc - optind != 1)
		return usage_error(&cmd_compact, "expected one IMAGE or DEVICE");
	if (is_device(argv[optind]))
		return compact_device(argv[optind], zero, rate);
	if (rate)
		return usage_error(&cmd_compact, "--rate is for a DEVICE");
	return compact_image(argv[optind], zero);
}

const struct command cmd_compact = {
	.name = "compact",
	.brief = "make an image file as small as what it holds",
	.help = help,
	.run = run_compact,
};
