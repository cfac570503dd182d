// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the header shim (tools/include) cannot do in headers.
 */
#include <linux/slab.h>

unsigned long vhd_shim_fail_alloc;

static bool shim_alloc_fails(void)
{
	unsigned long n = READ_ONCE(vhd_shim_fail_alloc);

	while (n && !__atomic_compare_exchange_n(&vhd_shim_fail_alloc, &n,
						 n - 1, false, __ATOMIC_RELAXED,
						 __ATOMIC_RELAXED))
		;
	return n == 1;
}

void *vhd_shim_alloc(size_t n, size_t size, bool zero)
{
	void *p;

	if (shim_alloc_fails())
		return NULL;
	if (zero)
		return calloc(n, size);
	p = reallocarray(NULL, n, size);
#ifdef VHD_SHIM_DEBUG
	/* Whoever reads this before writing it shall notice. */
	if (p)
		memset(p, 0xA5, n * size);
#endif
	return p;
}
