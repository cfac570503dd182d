// SPDX-License-Identifier: GPL-2.0-or-later
#include "columns.h"
#include "vhdctl.h"

static const struct option options[] = {
	{ "json", no_argument, NULL, 'J' },
	COMMON_OPTIONS
};

static const char help[] =
	"status [OPTION...] DEVICE|IMAGE\n"
	"\n"
	"Tell everything about a device as \"key: value\"; exit with 0 if it is\n"
	"attached, 4 if not.\n"
	"\n"
	" -J, --json                  JSON, as list prints it\n";

static int run_status(int argc, char **argv)
{
	struct device d;
	bool json = false;
	int c;

	while ((c = next_option(&cmd_status, argc, argv, "J" COMMON_SHORT,
				options)) != -1)
		json = true;
	if (argc - optind != 1)
		return usage_error(&cmd_status, "expected one DEVICE");
	if (device_find(argv[optind], &d)) {
		error_msg(argv[optind], "is not attached");
		return VHDCTL_BAD;
	}
	return columns_pairs(&d, json);
}

const struct command cmd_status = {
	.name = "status",
	.brief = "tell everything about one device",
	.help = help,
	.run = run_status,
};
