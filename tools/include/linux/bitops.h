/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef _SHIM_LINUX_BITOPS_H
#define _SHIM_LINUX_BITOPS_H

/* Bit n of an array of unsigned long, atomically unless __ comes first. */
#include <linux/bits.h>
#include <linux/compiler.h>

#define BITS_TO_LONGS(n) (((n) + BITS_PER_LONG - 1) / BITS_PER_LONG)

#define SHIM_BIT_WORD(n, p)	((p) + (n) / BITS_PER_LONG)
#define SHIM_BIT_MASK(n)	(1UL << ((n) % BITS_PER_LONG))

static inline bool test_bit(unsigned long n, const unsigned long *p)
{
	return __atomic_load_n(SHIM_BIT_WORD(n, p), __ATOMIC_RELAXED) &
	       SHIM_BIT_MASK(n);
}

static inline bool test_bit_acquire(unsigned long n, const unsigned long *p)
{
	return __atomic_load_n(SHIM_BIT_WORD(n, p), __ATOMIC_ACQUIRE) &
	       SHIM_BIT_MASK(n);
}

static inline void set_bit(unsigned long n, unsigned long *p)
{
	__atomic_fetch_or(SHIM_BIT_WORD(n, p), SHIM_BIT_MASK(n),
			  __ATOMIC_RELEASE);
}

static inline void clear_bit(unsigned long n, unsigned long *p)
{
	__atomic_fetch_and(SHIM_BIT_WORD(n, p), ~SHIM_BIT_MASK(n),
			   __ATOMIC_RELEASE);
}

static inline bool test_and_set_bit(unsigned long n, unsigned long *p)
{
	return __atomic_fetch_or(SHIM_BIT_WORD(n, p), SHIM_BIT_MASK(n),
				 __ATOMIC_ACQ_REL) & SHIM_BIT_MASK(n);
}

static inline bool test_and_clear_bit(unsigned long n, unsigned long *p)
{
	return __atomic_fetch_and(SHIM_BIT_WORD(n, p), ~SHIM_BIT_MASK(n),
				  __ATOMIC_ACQ_REL) & SHIM_BIT_MASK(n);
}

static inline void __set_bit(unsigned long n, unsigned long *p)
{
	*SHIM_BIT_WORD(n, p) |= SHIM_BIT_MASK(n);
}

static inline void __clear_bit(unsigned long n, unsigned long *p)
{
	*SHIM_BIT_WORD(n, p) &= ~SHIM_BIT_MASK(n);
}

static inline unsigned int hweight8(unsigned int w)
{
	return __builtin_popcount(w & 0xFF);
}

static inline unsigned int hweight32(unsigned int w)
{
	return __builtin_popcount(w);
}

static inline unsigned long hweight_long(unsigned long w)
{
	return __builtin_popcountl(w);
}

static inline int fls(unsigned int x)
{
	return x ? 32 - __builtin_clz(x) : 0;
}

static inline int fls64(unsigned long long x)
{
	return x ? 64 - __builtin_clzll(x) : 0;
}

static inline unsigned long __ffs(unsigned long x)
{
	return __builtin_ctzl(x);
}

#endif /* _SHIM_LINUX_BITOPS_H */
