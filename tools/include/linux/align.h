/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SHIM_LINUX_ALIGN_H
#define _SHIM_LINUX_ALIGN_H

/* @a is a power of two. */
#define SHIM_MASK(x, a)		((__typeof__(x))(a) - 1)
#define ALIGN(x, a)		(((x) + SHIM_MASK(x, a)) & ~SHIM_MASK(x, a))
#define ALIGN_DOWN(x, a)	((x) & ~SHIM_MASK(x, a))
#define IS_ALIGNED(x, a)	(((x) & SHIM_MASK(x, a)) == 0)

#endif /* _SHIM_LINUX_ALIGN_H */
