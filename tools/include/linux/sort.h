/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SHIM_LINUX_SORT_H
#define _SHIM_LINUX_SORT_H

#include <stdlib.h>

#include <linux/types.h>

static inline void sort(void *base, size_t n, size_t size,
			int (*cmp)(const void *, const void *),
			void (*swap_fn)(void *, void *, int))
{
	(void)swap_fn;
	if (n)
		qsort(base, n, size, cmp);
}

/*
 * qsort_r() wants a non-const last argument; calling through a cast pointer
 * is not C, hence the trampoline.
 */
struct shim_sort_r {
	int (*cmp)(const void *a, const void *b, const void *priv);
	const void *priv;
};

static inline int shim_sort_r_cmp(const void *a, const void *b, void *arg)
{
	struct shim_sort_r *s = arg;

	return s->cmp(a, b, s->priv);
}

static inline void sort_r(void *base, size_t n, size_t size,
			  int (*cmp)(const void *, const void *, const void *),
			  void (*swap_fn)(void *, void *, int, const void *),
			  const void *priv)
{
	struct shim_sort_r s = { .cmp = cmp, .priv = priv };

	(void)swap_fn;
	if (n)
		qsort_r(base, n, size, shim_sort_r_cmp, &s);
}

#endif /* _SHIM_LINUX_SORT_H */
