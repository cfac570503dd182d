/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SHIM_LINUX_SLAB_H
#define _SHIM_LINUX_SLAB_H

/*
 * Memory.  Tests set vhd_shim_fail_alloc to N to make the Nth allocation from
 * then on fail (once); 0: none.
 */
#include <stdlib.h>
#include <string.h>

#include <linux/compiler.h>
#include <linux/types.h>

#define GFP_KERNEL		0x1U
#define GFP_NOIO		0x2U
#define GFP_ATOMIC		0x4U
#define __GFP_NOWARN		0x8U
#define __GFP_ZERO		0x10U
#define GFP_KERNEL_ACCOUNT	GFP_KERNEL

extern unsigned long vhd_shim_fail_alloc;

/* The one allocator that the others are spelled with; see libvhd/shim.c. */
void *vhd_shim_alloc(size_t n, size_t size, bool zero);

#define kmalloc(size, gfp)		((void)(gfp), vhd_shim_alloc(1, size, (gfp) & __GFP_ZERO))
#define kzalloc(size, gfp)		((void)(gfp), vhd_shim_alloc(1, size, true))
#define kmalloc_array(n, size, gfp)	((void)(gfp), vhd_shim_alloc(n, size, (gfp) & __GFP_ZERO))
#define kcalloc(n, size, gfp)		((void)(gfp), vhd_shim_alloc(n, size, true))
#define kvmalloc(size, gfp)		kmalloc(size, gfp)
#define kvzalloc(size, gfp)		kzalloc(size, gfp)
#define kvmalloc_array(n, size, gfp)	kmalloc_array(n, size, gfp)
#define kvcalloc(n, size, gfp)		kcalloc(n, size, gfp)

static inline void kfree(const void *p)
{
	free((void *)p);
}

static inline void kvfree(const void *p)
{
	free((void *)p);
}

#endif /* _SHIM_LINUX_SLAB_H */
