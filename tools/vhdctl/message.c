// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "io.h"
#include "meter.h"
#include "vhdctl.h"

int verbosity;

static void message(const char *subject, const char *kind, const char *fmt,
		    va_list args)
{
	meter_clear();
	fputs("vhdctl: ", stderr);
	if (subject)
		fprintf(stderr, "%s: ", subject);
	fputs(kind, stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
}

void error_msg(const char *subject, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	message(subject, "", fmt, args);
	va_end(args);
}

void warning_msg(const char *subject, const char *fmt, ...)
{
	va_list args;

	if (verbosity < 0)
		return;
	va_start(args, fmt);
	message(subject, "warning: ", fmt, args);
	va_end(args);
}

void verbose_msg(const char *subject, const char *fmt, ...)
{
	va_list args;

	if (verbosity < 1)
		return;
	va_start(args, fmt);
	message(subject, "", fmt, args);
	va_end(args);
}

int exit_code(int err)
{
	switch (-err) {
	case 0:
		return VHDCTL_OK;
	case EPERM:
	case EACCES:
		return VHDCTL_PERMISSION;
	case ENOMEM:
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
	case EMFILE:
	case ENFILE:
		return VHDCTL_RESOURCE;
	case EBUSY:
	case EEXIST:
	case ETXTBSY:
		return VHDCTL_BUSY;
	default:
		return VHDCTL_BAD;
	}
}

int error_errno(const char *subject, const char *what, int err)
{
	error_msg(subject, "%s: %s", what, err == -EINTR && vhd_interrupted ?
		  "interrupted" : strerror(-err));
	return exit_code(err);
}

char *printable(char *s)
{
	unsigned char *p;

	for (p = (unsigned char *)s; *p; p++) {
		if (*p < 0x20 || *p == 0x7F)
			*p = '?';
		/* U+0080 to U+009F, control characters too */
		else if (*p == 0xC2 && p[1] >= 0x80 && p[1] < 0xA0)
			p[0] = p[1] = '?';
		/* a surrogate without its other half: no character */
		else if (*p == 0xED && p[1] >= 0xA0 && p[2])
			p[0] = p[1] = p[2] = '?';
	}
	return s;
}
