// SPDX-License-Identifier: GPL-2.0-or-later
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/kernel.h>

#include "io.h"
#include "meter.h"
#include "mount.h"
#include "vhdctl.h"

enum {
	OPT_DEBUG = 1000,
	OPT_PROGRESS,
	OPT_PROGRESS_JSON,
};

static const struct command *const commands[] = {
	&cmd_create, &cmd_snapshot, &cmd_commit, &cmd_rebase, &cmd_uuid,
	&cmd_attach, &cmd_detach, &cmd_list, &cmd_status,
	&cmd_set, &cmd_info, &cmd_check, &cmd_map, &cmd_dump,
	&cmd_mount, &cmd_umount,
	&cmd_convert, &cmd_compare, &cmd_compact, &cmd_resize,
};

/* What wrong usage of the command exits with. */
static int usage_code = VHDCTL_USAGE;

static void print_help(void)
{
	size_t i;

	printf("Usage: vhdctl [COMMAND [OPTION...] [ARGUMENT...]]\n\n"
	       "Attach VHD images as block devices, make and inspect them.\n"
	       "Without a command: list.\n\nCommands:\n");
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		printf(" %-10s %s\n", commands[i]->name, commands[i]->brief);
	printf("\nOptions, also of every command:\n%s\n"
	       "'vhdctl COMMAND --help' tells more.\n", COMMON_HELP);
}

static void print_version(void)
{
	printf("vhdctl %s\n", VHD_VERSION);
}

static void try_help(const struct command *cmd)
{
	fprintf(stderr, "Try 'vhdctl%s%s --help'.\n",
		cmd ? " " : "", cmd ? cmd->name : "");
}

/* Returns only if the option was one of the common ones that do not end. */
static void common_option(const struct command *cmd, int c)
{
	static const char *const modes[] = { "auto", "on", "off", NULL };

	switch (c) {
	case 'h':
		if (cmd)
			printf("Usage: vhdctl %s\n%s", cmd->help, COMMON_HELP);
		else
			print_help();
		exit(VHDCTL_OK);
	case 'V':
		print_version();
		exit(VHDCTL_OK);
	case 'v':
		verbosity = 1;
		break;
	case 'q':
		verbosity = -1;
		break;
	case OPT_DEBUG:
		verbosity = 2;
		vhd_io_trace = stderr;
		break;
	case OPT_PROGRESS:
		meter_mode = optarg ? (enum meter_mode)
			parse_choice("--progress", optarg, modes) : METER_ON;
		break;
	case OPT_PROGRESS_JSON:
		meter_mode = METER_JSON;
		break;
	case '?':
		try_help(cmd);
		exit(usage_code);
	}
}

int next_option(const struct command *cmd, int argc, char **argv,
		const char *letters, const struct option *options)
{
	static const char common[] = "hVvq?";
	int c;

	for (;;) {
		c = getopt_long(argc, argv, letters, options, NULL);
		if (c == -1 ||
		    ((c < OPT_DEBUG || c >= OPT_LONG) && !strchr(common, c)))
			return c;
		common_option(cmd, c);
	}
}

int parse_choice(const char *option, const char *arg, const char *const *words)
{
	int i;

	for (i = 0; words[i]; i++)
		if (!strcmp(arg, words[i]))
			return i;
	fprintf(stderr, "vhdctl: %s: unknown value \"%s\", must be", option,
		arg);
	for (i = 0; words[i]; i++)
		fprintf(stderr, "%s %s", i ? " or" : "", words[i]);
	fputc('\n', stderr);
	exit(usage_code);
}

int usage_error(const struct command *cmd, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fputs("vhdctl: ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	try_help(cmd);
	return usage_code;
}

static const struct command *find_command(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(name, commands[i]->name) ||
		    (commands[i]->alias && !strcmp(name, commands[i]->alias)))
			return commands[i];
	return NULL;
}

static void interrupted(int sig)
{
	vhd_interrupted = sig;
}

/* Long work ends itself, cleanly; a second signal ends it at once. */
static void catch_signals(void)
{
	struct sigaction sa = {
		.sa_handler = interrupted,
		.sa_flags = SA_RESETHAND,
	};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	/* A file that grows too large is an error like any other. */
	signal(SIGXFSZ, SIG_IGN);
}

/* Whoever reads our output must learn that it is incomplete. */
static int close_stdout(int code)
{
	if ((fflush(stdout) || ferror(stdout)) && !code) {
		error_msg(NULL, "cannot write the output: %m");
		return VHDCTL_RESOURCE;
	}
	return code;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { COMMON_OPTIONS };
	const struct command *cmd = &cmd_list;
	static char me[] = "vhdctl";	/* what getopt's messages begin with */
	int skip, code;

	if (!strcmp(basename(argv[0]), "mount.vhd"))
		return mount_helper(argc, argv);
	argv[0] = me;
	/* '+': the options behind the command are the command's. */
	while (next_option(NULL, argc, argv, "+" COMMON_SHORT, options) != -1)
		;
	skip = optind;
	if (skip < argc) {
		cmd = find_command(argv[skip]);
		if (!cmd)
			return usage_error(NULL, "unknown command \"%s\"",
					   argv[skip]);
	} else {
		skip = argc - 1;
	}
	if (cmd->usage)
		usage_code = cmd->usage;
	argv[skip] = me;
	optind = 0;
	catch_signals();
	meter_init();
	code = close_stdout(cmd->run(argc - skip, argv + skip));
	/* As the shell counts a death by signal. */
	return vhd_interrupted && code ? 128 + vhd_interrupted : code;
}
