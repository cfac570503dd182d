/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SHIM_LINUX_SPRINTF_H
#define _SHIM_LINUX_SPRINTF_H

#include <stdarg.h>
#include <stdio.h>

#include <linux/types.h>

/* As snprintf, but returns what really was written, without the NUL. */
__attribute__((format(printf, 3, 4)))
static inline int scnprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(buf, size, fmt, args);
	va_end(args);
	if (n >= 0 && (size_t)n >= size)
		n = size ? (int)size - 1 : 0;
	return n;
}

#endif /* _SHIM_LINUX_SPRINTF_H */
