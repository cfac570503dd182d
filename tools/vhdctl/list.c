// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "columns.h"
#include "io.h"
#include "vhdctl.h"

enum {
	OPT_OUTPUT_ALL = OPT_LONG,
	OPT_RAW,
	OPT_COLUMNS,
	OPT_WATCH,
};

static const struct option options[] = {
	{ "output", required_argument, NULL, 'O' },
	{ "output-all", no_argument, NULL, OPT_OUTPUT_ALL },
	{ "noheadings", no_argument, NULL, 'n' },
	{ "raw", no_argument, NULL, OPT_RAW },
	{ "bytes", no_argument, NULL, 'b' },
	{ "json", no_argument, NULL, 'J' },
	{ "list-columns", no_argument, NULL, OPT_COLUMNS },
	{ "watch", optional_argument, NULL, OPT_WATCH },
	COMMON_OPTIONS
};

static const char help[] =
	"list [OPTION...] [DEVICE|IMAGE...]\n"
	"\n"
	"List attached devices.\n"
	"\n"
	" -O, --output COLUMNS        columns to show, comma-separated; +COLUMNS\n"
	"                             adds to the usual ones\n"
	"     --output-all            all columns\n"
	"     --list-columns          tell the columns' names and meanings\n"
	" -n, --noheadings            no headings\n"
	"     --raw                   no alignment, blanks as \\x20\n"
	" -b, --bytes                 sizes in bytes\n"
	" -J, --json                  JSON\n"
	"     --watch[=SECONDS]       again and again, each second or so many; ends\n"
	"                             with Ctrl-C\n";

#define MAX_SECONDS	86400

static int one_option(struct columns_style *style, int c)
{
	switch (c) {
	case 'O':
		return columns_parse(style, optarg) ? VHDCTL_USAGE : VHDCTL_OK;
	case OPT_OUTPUT_ALL:
		columns_all(style);
		break;
	case 'n':
		style->no_headings = true;
		break;
	case OPT_RAW:
		style->raw = true;
		break;
	case 'b':
		style->bytes = true;
		break;
	case 'J':
		style->json = true;
		break;
	}
	return VHDCTL_OK;
}

static int list_all(const struct columns_style *style)
{
	struct device *devices;
	int n, code;

	n = device_list(&devices);
	if (n < 0)
		return error_errno("/sys/block", "cannot read", n);
	code = VHDCTL_OK;
	if (n || style->json)
		code = columns_table(style, devices, n);
	free(devices);
	return code;
}

static int list_some(const struct columns_style *style, int argc, char **argv)
{
	struct device *devices = calloc(argc, sizeof(*devices));
	int code = VHDCTL_OK;
	int i, n = 0;

	if (!devices)
		return VHDCTL_RESOURCE;
	for (i = 0; i < argc; i++) {
		if (!device_find(argv[i], &devices[n])) {
			n++;
			continue;
		}
		error_msg(argv[i], "is not attached");
		code = VHDCTL_BAD;
	}
	if (n && columns_table(style, devices, n))
		code = VHDCTL_RESOURCE;
	free(devices);
	return code;
}

static int list_once(const struct columns_style *style, int argc, char **argv)
{
	return argc ? list_some(style, argc, argv) : list_all(style);
}

/* On a terminal each list takes the place of the one before. */
static int list_watch(const struct columns_style *style, int seconds, int argc,
		      char **argv)
{
	struct timespec pause = { .tv_sec = seconds };
	bool terminal = isatty(STDOUT_FILENO);
	int code = VHDCTL_OK;

	while (!vhd_interrupted) {
		if (terminal)
			fputs("\033[H\033[2J", stdout);
		code = list_once(style, argc, argv);
		if (!terminal)
			putchar('\n');
		if (fflush(stdout))
			break;
		nanosleep(&pause, NULL);
	}
	return code;
}

static int parse_seconds(const char *arg, int *seconds)
{
	char *end;
	long n = 1;

	if (arg) {
		n = strtol(arg, &end, 10);
		if (!*arg || *end || n < 1 || n > MAX_SECONDS)
			return usage_error(&cmd_list, "--watch: found \"%s\", expected seconds",
					   arg);
	}
	*seconds = n;
	return VHDCTL_OK;
}

static int run_list(int argc, char **argv)
{
	struct columns_style style = { };
	int c, seconds = 0;

	while ((c = next_option(&cmd_list, argc, argv, "O:nbJ" COMMON_SHORT,
				options)) != -1) {
		if (c == OPT_COLUMNS) {
			columns_help();
			return VHDCTL_OK;
		}
		if (c == OPT_WATCH ? parse_seconds(optarg, &seconds) :
				     one_option(&style, c))
			return VHDCTL_USAGE;
	}
	if (!style.nr)
		columns_default(&style);
	argc -= optind;
	argv += optind;
	return seconds ? list_watch(&style, seconds, argc, argv) :
			 list_once(&style, argc, argv);
}

const struct command cmd_list = {
	.name = "list",
	.alias = "ls",
	.brief = "list attached devices",
	.help = help,
	.run = run_list,
};
