// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"
#include "compare.h"
#include "disk.h"
#include "meter.h"
#include "vhdctl.h"

/* What compare exits with, as cmp does. */
enum compare_exit {
	COMPARE_SAME	= 0,
	COMPARE_DIFFER	= 1,
	COMPARE_TROUBLE	= 2,
};

static const struct option options[] = {
	{ "format", required_argument, NULL, 'f' },
	{ "second-format", required_argument, NULL, 'F' },
	{ "strict", no_argument, NULL, 's' },
	PARENT_OPTIONS
	COMMON_OPTIONS
};

static const char help[] =
	"compare [OPTION...] A B\n"
	"\n"
	"Compare two disks by what they hold, whether images, raw files or block\n"
	"devices.  Zeros behind the end of the shorter one make no difference.  Exit\n"
	"codes: 0 the same, 1 different, 2 trouble.\n"
	"\n"
	" -f, --format raw|vhd        what A is; found out otherwise\n"
	" -F, --second-format raw|vhd what B is\n"
	" -s, --strict                different sizes are a difference\n"
	PARENT_HELP;

/* struct wish - the options as given */
struct wish {
	enum vhd_source_format formats[2];
	bool strict;
	struct vhd_parent_options parents;
};

static int report_compare(const struct vhd_compare *c, int err)
{
	if (err == -EINTR)
		error_msg(NULL, "interrupted at %llu of the disk",
			  (unsigned long long)c->at);
	else
		error_msg(c->sources[c->which]->file.path,
			  "cannot read at %llu of the disk: %s",
			  (unsigned long long)c->at, strerror(-err));
	return COMPARE_TROUBLE;
}

static int tell(const struct vhd_compare *c, const struct wish *w)
{
	const struct vhd_source *a = c->sources[0], *b = c->sources[1];
	bool differ = c->differ || (w->strict && a->size != b->size);

	if (verbosity < 0)
		return differ ? COMPARE_DIFFER : COMPARE_SAME;
	if (c->differ)
		printf("%s and %s differ at byte %llu\n", a->file.path,
		       b->file.path, (unsigned long long)c->at);
	else
		printf("%s and %s are the same\n", a->file.path, b->file.path);
	if (a->size != b->size)
		printf("their sizes differ: %llu and %llu bytes%s\n",
		       (unsigned long long)a->size,
		       (unsigned long long)b->size,
		       c->differ ? "" : ", what is beyond is zeros");
	return differ ? COMPARE_DIFFER : COMPARE_SAME;
}

static int compare(struct vhd_compare *c, const struct wish *w, char **paths)
{
	int i, err;

	for (i = 0; i < 2; i++)
		if (open_source(c->sources[i], paths[i], w->formats[i],
				&w->parents))
			return COMPARE_TROUBLE;
	meter_start("comparing", true);
	err = vhd_compare(c);
	meter_stop(!err);
	return err ? report_compare(c, err) : tell(c, w);
}

static int compare_paths(const struct wish *w, char **paths)
{
	struct vhd_source *s = calloc(2, sizeof(*s));
	struct vhd_compare c = { .sources = { &s[0], &s[1] } };
	int i, code;

	if (!s) {
		error_errno(NULL, "cannot compare", -ENOMEM);
		return COMPARE_TROUBLE;
	}
	for (i = 0; i < 2; i++)
		s[i].file.fd = -1;
	code = compare(&c, w, paths);
	for (i = 0; i < 2; i++)
		vhd_source_close(&s[i]);
	free(s);
	return code;
}

static int run_compare(int argc, char **argv)
{
	struct wish w = { };
	int c, i, code;

	while ((c = next_option(&cmd_compare, argc, argv, "f:F:s" COMMON_SHORT,
				options)) != -1) {
		if (c == 's')
			w.strict = true;
		else if (!parent_option(&w.parents, c, optarg))
			w.formats[c == 'F'] = source_format(optarg);
	}
	if (argc - optind != 2)
		return usage_error(&cmd_compare, "expected A and B");
	for (i = 0; i < 2; i++)
		if (!strcmp(argv[optind + i], "-"))
			return usage_error(&cmd_compare,
					   "the standard input cannot be compared");
	code = compare_paths(&w, argv + optind);
	parent_options_free(&w.parents);
	return code;
}

const struct command cmd_compare = {
	.name = "compare",
	.brief = "compare two disks by what they hold",
	.help = help,
	.run = run_compare,
	.usage = COMPARE_TROUBLE,
};
