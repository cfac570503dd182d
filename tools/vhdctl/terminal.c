// SPDX-License-Identifier: GPL-2.0-or-later
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "terminal.h"

#define LEAST_COLUMNS	20
#define MOST_COLUMNS	1000

int terminal_columns(void)
{
	const char *env = getenv("COLUMNS");
	struct winsize ws;
	int n = 0;

	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws))
		n = ws.ws_col;
	if (!n && env)
		n = atoi(env);
	if (!n)
		return 80;
	return n < LEAST_COLUMNS ? LEAST_COLUMNS :
	       n > MOST_COLUMNS ? MOST_COLUMNS : n;
}

bool terminal_colour(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && (!no || !*no) &&
	       term && strcmp(term, "dumb");
}

bool terminal_utf8(void)
{
	setlocale(LC_CTYPE, "");
	return !strcmp(nl_langinfo(CODESET), "UTF-8");
}
