/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SHIM_LINUX_BUG_H
#define _SHIM_LINUX_BUG_H

/* VHD_SHIM_DEBUG (tests, sanitizer builds) makes every warning fatal. */
#include <stdio.h>
#include <stdlib.h>

#include <linux/compiler.h>

#ifdef VHD_SHIM_DEBUG
#define VHD_SHIM_WARNED()	abort()
#else
#define VHD_SHIM_WARNED()	((void)0)
#endif

#define WARN_ON(cond) ({						\
	bool warned_ = !!(cond);					\
									\
	if (unlikely(warned_)) {					\
		fprintf(stderr, "WARNING: %s:%d: %s\n",			\
			__FILE__, __LINE__, #cond);			\
		VHD_SHIM_WARNED();					\
	}								\
	unlikely(warned_);						\
})
#define WARN_ON_ONCE(cond)	WARN_ON(cond)
#define BUG() do {							\
	fprintf(stderr, "BUG: %s:%d\n", __FILE__, __LINE__);		\
	abort();							\
} while (0)
#define BUG_ON(cond)		do { if (cond) BUG(); } while (0)
#define BUILD_BUG_ON(cond)	_Static_assert(!(cond), #cond)

#endif /* _SHIM_LINUX_BUG_H */
