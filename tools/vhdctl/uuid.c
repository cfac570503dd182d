// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <string.h>

#include <uuid.h>

#include <linux/string.h>

#include "chain.h"
#include "relink.h"
#include "report.h"
#include "vhdctl.h"

enum {
	OPT_SET = OPT_LONG,
	OPT_RANDOM,
	OPT_FORCE,
};

static const struct option options[] = {
	{ "set", required_argument, NULL, OPT_SET },
	{ "random", no_argument, NULL, OPT_RANDOM },
	{ "force", no_argument, NULL, OPT_FORCE },
	COMMON_OPTIONS
};

static const char help[] =
	"uuid [OPTION...] IMAGE\n"
	"\n"
	"Print the unique id of an image, or change it. Its children know it by\n"
	"that id: after a change they need \"vhdctl rebase --unsafe\". Interrupted,\n"
	"it can be done again.\n"
	"\n"
	"     --set UUID              this id\n"
	"     --random                a new one\n"
	"     --force                 although images beside it depend on it\n";

static int print_id(const char *path)
{
	struct vhd_file f;
	char id[37];
	int code;

	code = open_image(&f, path);
	if (!code) {
		uuid_unparse_lower(f.image.footer.unique_id, id);
		puts(id);
	}
	vhd_file_close(&f);
	return code;
}

/*
 * A change of the id that was cut short leaves the copy of the footer blank: that
 * it can only be read because of that is no obstacle here.
 */
static bool only_head_bad(const struct vhd_file *f)
{
	const struct vhd_findings *list = &f->findings;
	unsigned int i, n = 0;

	for (i = 0; i < vhd_findings_kept(list); i++) {
		enum vhd_finding_code code = list->list[i].code;

		if (vhd_finding_info(code)->policy < VHD_POLICY_READ_ONLY)
			continue;
		if (code != VHD_FIND_HEAD_BAD)
			return false;
		n++;
	}
	return n;
}

static int load_for_id(struct vhd_file *f)
{
	int err = vhd_file_load(f, VHD_OPEN_WRITE | VHD_OPEN_FORCE);

	if (err == -EROFS && only_head_bad(f)) {
		vhd_file_unload(f);
		err = vhd_file_load(f, VHD_OPEN_FORCE);
	}
	return err ? report_load(f, err) : VHDCTL_OK;
}

static int set_id(const char *path, const uuid_t id, bool force)
{
	struct vhd_file f;
	int code, err;

	err = vhd_file_open(&f, path, true);
	code = err ? report_open(&f, path, err) : file_lock(&f, true);
	if (!code)
		code = load_for_id(&f);
	/* Of the null id nobody is a child. */
	if (!code && !uuid_is_null(f.image.footer.unique_id))
		code = refuse_children(&f, NULL, force);
	if (!code) {
		err = vhd_set_id(&f, id);
		if (err)
			code = error_errno(path, "cannot change the id", err);
	}
	vhd_file_close(&f);
	return code;
}

static int run_uuid(int argc, char **argv)
{
	bool force = false, set = false;
	uuid_t id;
	int c;

	while ((c = next_option(&cmd_uuid, argc, argv, COMMON_SHORT,
				options)) != -1) {
		force |= c == OPT_FORCE;
		set |= c != OPT_FORCE;
		if (c == OPT_RANDOM)
			uuid_generate(id);
		if (c == OPT_SET && (uuid_parse(optarg, id) || uuid_is_null(id)))
			return usage_error(&cmd_uuid,
					   "--set: \"%s\" is not an id, or the null id",
					   optarg);
	}
	if (argc - optind != 1)
		return usage_error(&cmd_uuid, "expected one IMAGE");
	return set ? set_id(argv[optind], id, force) : print_id(argv[optind]);
}

const struct command cmd_uuid = {
	.name = "uuid",
	.brief = "print or change the id of an image",
	.help = help,
	.run = run_uuid,
};
