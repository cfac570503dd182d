/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all subcommands share: options, messages, exit codes, sizes.
 */
#ifndef _VHDCTL_H
#define _VHDCTL_H

#include <getopt.h>

#include <linux/types.h>

/**
 * enum vhdctl_exit - what vhdctl exits with; scripts rely on these
 * @VHDCTL_BAD: bad image, wrong device, parent missing, I/O error
 * @VHDCTL_BUSY: in use, or exists already
 */
enum vhdctl_exit {
	VHDCTL_OK		= 0,
	VHDCTL_USAGE		= 1,
	VHDCTL_PERMISSION	= 2,
	VHDCTL_RESOURCE		= 3,
	VHDCTL_BAD		= 4,
	VHDCTL_BUSY		= 5,
};

/**
 * struct command - a subcommand
 * @alias: another name, or NULL
 * @brief: for the list of commands
 * @help: synopsis and options, as --help prints them
 * @run: given the arguments from the subcommand's name on
 * @usage: exit code for wrong usage where it is not VHDCTL_USAGE
 */
struct command {
	const char *name;
	const char *alias;
	const char *brief;
	const char *help;
	int (*run)(int argc, char **argv);
	int usage;
};

extern const struct command cmd_snapshot, cmd_commit, cmd_rebase, cmd_uuid;
extern const struct command cmd_create, cmd_attach, cmd_detach, cmd_list,
			    cmd_status, cmd_set, cmd_info, cmd_check, cmd_map,
			    cmd_dump, cmd_mount, cmd_umount,
			    cmd_convert, cmd_compare, cmd_compact,
			    cmd_resize;

/* Options that every command takes; at the end of its tables. */
#define COMMON_SHORT	"hVvq"
#define COMMON_OPTIONS					\
	{ "help", no_argument, NULL, 'h' },		\
	{ "version", no_argument, NULL, 'V' },		\
	{ "verbose", no_argument, NULL, 'v' },		\
	{ "quiet", no_argument, NULL, 'q' },		\
	{ "debug", no_argument, NULL, 1000 },		\
	{ "progress", optional_argument, NULL, 1001 },	\
	{ "progress-json", no_argument, NULL, 1002 },	\
	{ }
#define COMMON_HELP					\
	" -v, --verbose               say more\n"	\
	" -q, --quiet                 no warnings\n"	\
	"     --debug                 say everything\n"	\
	"     --progress[=auto|on|off] tell how far a long command is; auto: if it\n" \
	"                             is long and stderr is a terminal (default)\n" \
	"     --progress-json         a line of JSON each half second, on stderr\n" \
	" -h, --help                  show this help\n"	\
	" -V, --version               show the version\n"
/* Values of long options without a letter begin here. */
#define OPT_LONG	1003

/**
 * next_option - getopt_long() that handles the common options
 * Does not return after --help, --version and wrong options.
 */
int next_option(const struct command *cmd, int argc, char **argv,
		const char *letters, const struct option *options);

/**
 * parse_choice - index of @arg in a list of words that ends with NULL
 * Says what is allowed and exits otherwise.
 */
int parse_choice(const char *option, const char *arg, const char *const *words);

/** usage_error - "vhdctl: ...", then where to find help; an exit code, not 0 */
int usage_error(const struct command *cmd, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Messages, all to stderr: "vhdctl: SUBJECT: ...".  @subject may be NULL. */

/* -1: --quiet, 1: --verbose, 2: --debug */
extern int verbosity;

void error_msg(const char *subject, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void warning_msg(const char *subject, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void verbose_msg(const char *subject, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/** error_errno - say what failed with negative errno @err; its exit code */
int error_errno(const char *subject, const char *what, int err);

/** exit_code - for a negative errno, where nothing better is known */
int exit_code(int err);

/* Sizes */

/**
 * parse_size - "10G", "1.5MiB", "512s", "3MB" (1000s), plain bytes
 * Return: 0, -EINVAL, or -ERANGE.
 */
int parse_size(const char *arg, u64 *bytes);

/** format_size - short and rounded: "127G", "1.5M"; returns @buf */
char *format_size(u64 bytes, char *buf, size_t len);

/**
 * printable - @s with control characters replaced by "?"
 * In place; what comes from an image must not steer a terminal.
 */
char *printable(char *s);

#endif /* _VHDCTL_H */
