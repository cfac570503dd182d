/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SHIM_LINUX_MINMAX_H
#define _SHIM_LINUX_MINMAX_H

/* Each argument is evaluated once; unique names keep -Wshadow quiet. */
#define SHIM_PASTE_(a, b)	a##b
#define SHIM_PASTE(a, b)	SHIM_PASTE_(a, b)
#define SHIM_PICK(type_x, x, op, type_y, y, vx, vy) ({			\
	type_x vx = (x);						\
	type_y vy = (y);						\
									\
	vx op vy ? vx : vy;						\
})
#define SHIM_PICK_ONCE(type_x, x, op, type_y, y)			\
	SHIM_PICK(type_x, x, op, type_y, y,				\
		  SHIM_PASTE(vx_, __COUNTER__), SHIM_PASTE(vy_, __COUNTER__))

#define min(x, y)	SHIM_PICK_ONCE(__auto_type, x, <, __auto_type, y)
#define max(x, y)	SHIM_PICK_ONCE(__auto_type, x, >, __auto_type, y)
#define max3(x, y, z)	max(max(x, y), z)
#define min3(x, y, z)	min(min(x, y), z)
#define min_t(t, x, y)	SHIM_PICK_ONCE(t, x, <, t, y)
#define max_t(t, x, y)	SHIM_PICK_ONCE(t, x, >, t, y)
#define clamp(v, lo, hi)	min(max(v, lo), hi)
#define clamp_t(t, v, lo, hi)	min_t(t, max_t(t, v, lo), hi)

#define swap(a, b) do {							\
	__typeof__(a) swap_ = (a);					\
									\
	(a) = (b);							\
	(b) = swap_;							\
} while (0)

#endif /* _SHIM_LINUX_MINMAX_H */
